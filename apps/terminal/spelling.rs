//! Options in either spelling.

use std::ffi::OsString;

use clap::Parser;

/// Parses the command line. Option names may be spelled with `-` or with `_`, as in `--gd-steps` and `--gd_steps`; their
/// values stay as they are.
///
/// Ends the program with exit code 2 and the usage if the command line is wrong.
pub fn parse<T: Parser>() -> T {
    T::parse_from(in_kebab_case(std::env::args_os()))
}

/// The arguments with `_` in option names turned into `-`, up to a lone `--`.
fn in_kebab_case(arguments: impl IntoIterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut options = true;
    arguments.into_iter().map(move |argument| {
        options &= argument != "--";
        match argument.to_str() {
            Some(text) if options && text.starts_with("--") => kebab(text).into(),
            _ => argument,
        }
    })
}

fn kebab(option: &str) -> String {
    match option.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.replace('_', "-")),
        None => option.replace('_', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_options_change() {
        let given = ["tribute_x", "--gd_steps", "a_b", "--out=c_d", "-q", "--", "--e_f"];
        let read: Vec<_> = in_kebab_case(given.map(OsString::from)).collect();
        assert_eq!(read, ["tribute_x", "--gd-steps", "a_b", "--out=c_d", "-q", "--", "--e_f"]);
    }
}
