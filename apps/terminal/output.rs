//! Text for stdout and stderr, whose reader may be a terminal, a full disk, or gone.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, ErrorKind, StdoutLock, Write};

use anyhow::Context;

/// Whoever read stdout has ended, as `head` does when it has seen enough. There is nobody left to tell.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl Display for ReaderGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody reads standard output any longer")
    }
}

impl std::error::Error for ReaderGone {}

/// Prints a result to stdout, as lines.
///
/// # Errors
/// If stdout cannot be written to; one whose reader has ended ends the program without a word and with exit code 0.
pub fn print(text: impl Display) -> anyhow::Result<()> {
    to_stdout(|out| writeln!(out, "{}", visible(&text.to_string())))
}

/// Prints a result as indented JSON to stdout.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &serde_json::Value) -> anyhow::Result<()> {
    to_stdout(|out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        writeln!(out)
    })
}

fn to_stdout(write: impl FnOnce(&mut StdoutLock<'_>) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("cannot write to standard output"),
    }
}

/// Tells whoever is there something on stderr. A lost terminal or a full disk behind it is no reason to end what is going on.
pub fn tell(text: impl Display) {
    let _ = writeln!(io::stderr(), "{}", visible(&text.to_string()));
}

/// Text with its control characters, line ends and tabs aside, written as Rust writes them: names of contributors and files come from
/// others, and must neither command the terminal nor turn the direction of what follows.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| {
        let direction = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        direction || (c.is_control() && !matches!(c, '\n' | '\t'))
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn nothing_in_a_text_commands_a_terminal() {
        assert_eq!(visible("Zoë 😀 שלום\n\tline"), "Zoë 😀 שלום\n\tline");
        assert_eq!(visible("\u{1b}[2J\r\u{9b}1m\u{7}"), "\\u{1b}[2J\\r\\u{9b}1m\\u{7}");
        assert_eq!(visible("a\u{202e}b\u{2066}c"), "a\\u{202e}b\\u{2066}c");
    }
}
