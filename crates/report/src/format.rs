//! Numbers in words a reader can take in.

use crate::{Interval, Number};

/// What stands where a number is missing.
pub(crate) const NOT_MEASURED: &str = "not measured";

/// How many decimals the numbers of one column have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimals(usize);

impl Decimals {
    /// Two significant digits of `resolution`, the smallest difference that matters (such as a standard error).
    pub(crate) fn for_resolution(resolution: f64) -> Self {
        if !resolution.is_finite() || resolution <= 0.0 {
            return Decimals(3);
        }
        let digits = 1.0 - resolution.log10().floor();
        Decimals(digits.clamp(0.0, 8.0) as usize)
    }

    /// For numbers without a known error: three significant digits of the largest.
    pub(crate) fn for_values(values: impl IntoIterator<Item = f64>) -> Self {
        let largest = values.into_iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
        Decimals::for_resolution(largest / 10.0)
    }

    /// As few as show every one of `ticks` exactly, if at most 8 do.
    pub(crate) fn for_ticks(ticks: &[f64]) -> Self {
        let exact = |decimals: &usize| {
            let scale = 10f64.powi(*decimals as i32);
            ticks.iter().all(|tick| {
                ((tick * scale).round() - tick * scale).abs() < 1e-6 * (tick * scale).abs().max(1.0)
            })
        };
        Decimals((0..8).find(exact).unwrap_or(8))
    }

    /// The labels of ticks, all with as many decimals as [`Self::for_ticks`].
    pub(crate) fn labels(ticks: &[f64]) -> Vec<String> {
        let decimals = Self::for_ticks(ticks);
        ticks.iter().map(|&tick| decimals.show(tick)).collect()
    }

    /// `value` with a true minus sign.
    pub(crate) fn show(self, value: f64) -> String {
        if !value.is_finite() {
            return NOT_MEASURED.to_owned();
        }
        let text = format!("{:.*}", self.0, value);
        match text.strip_prefix('-') {
            Some(digits) if digits.chars().all(|c| matches!(c, '0' | '.')) => digits.to_owned(),
            Some(digits) => format!("\u{2212}{digits}"),
            None => text,
        }
    }

    /// `value` with its sign, plus included; zero has none.
    pub(crate) fn signed(self, value: f64) -> String {
        let text = self.show(value);
        let zero = text.chars().all(|c| matches!(c, '0' | '.'));
        if value > 0.0 && value.is_finite() && !zero { format!("+{text}") } else { text }
    }

    /// The value, or "not measured".
    pub(crate) fn number(self, number: Number) -> String {
        number.get().map_or_else(|| NOT_MEASURED.to_owned(), |value| self.show(value))
    }

    /// `low to high`.
    pub(crate) fn interval(self, interval: Interval) -> String {
        format!("{} to {}", self.show(interval.low), self.show(interval.high))
    }
}

/// A whole number with thin spaces between thousands.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `n thing` or `n things`.
pub(crate) fn counted(n: u64, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{} {thing}s", count(n)) }
}

/// A large count in thousands, millions or billions, three digits.
pub(crate) fn magnitude(n: u64) -> String {
    let value = n as f64;
    let (scaled, suffix) = match n {
        0..=9_999 => return count(n),
        10_000..=999_499 => (value / 1e3, "\u{a0}k"),
        999_500..=999_499_999 => (value / 1e6, "\u{a0}M"),
        _ => (value / 1e9, "\u{a0}G"),
    };
    let decimals = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.decimals$}{suffix}")
}

/// Seconds as people say them.
pub(crate) fn duration(seconds: Number) -> String {
    let Some(s) = seconds.get().filter(|s| *s >= 0.0) else { return NOT_MEASURED.to_owned() };
    if s < 0.0995 {
        return format!("{:.0}\u{a0}ms", s * 1e3);
    }
    if s < 9.95 {
        return format!("{s:.1}\u{a0}s");
    }
    let whole = s.round() as u64;
    match whole {
        0..=119 => format!("{whole}\u{a0}s"),
        120..=7_199 => match (whole / 60, whole % 60) {
            (minutes, 0) => format!("{minutes}\u{a0}min"),
            (minutes, rest) => format!("{minutes}\u{a0}min {rest}\u{a0}s"),
        },
        _ => format!("{}\u{a0}h {:02}\u{a0}min", count(whole / 3_600), whole % 3_600 / 60),
    }
}

/// A fraction as a whole percentage.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{}\u{a0}%", Decimals(0).show(fraction * 100.0))
}

/// A fraction as a signed number of per cent without the sign "%", one decimal where it is small.
pub(crate) fn signed_points(fraction: f64) -> String {
    Decimals(usize::from((fraction * 100.0).abs() < 9.95)).signed(fraction * 100.0)
}

/// A fraction as a signed percentage, one decimal where it is small.
pub(crate) fn signed_percent(fraction: f64) -> String {
    format!("{}\u{a0}%", signed_points(fraction))
}

/// A correlation times 100, as LDS is reported.
pub(crate) fn correlation(value: f64) -> String {
    Decimals(0).show(value * 100.0)
}

/// An interval of correlations times 100.
pub(crate) fn correlations(interval: Interval) -> String {
    format!("{} to {}", correlation(interval.low), correlation(interval.high))
}

/// Bytes in binary units.
pub(crate) fn memory(bytes: u64) -> String {
    let mib = bytes as f64 / (1u64 << 20) as f64;
    if mib < 1023.5 { format!("{mib:.0}\u{a0}MiB") } else { format!("{:.1}\u{a0}GiB", mib / 1024.0) }
}

/// A ratio as "3.4 times".
pub(crate) fn times(ratio: f64) -> String {
    if !ratio.is_finite() {
        return NOT_MEASURED.to_owned();
    }
    let decimals = if ratio < 1.0 { 2 } else { usize::from(ratio < 99.5) };
    format!("{ratio:.decimals$} times")
}

/// "a", "a and b", "a, b and c".
pub(crate) fn list<S: AsRef<str>>(items: &[S]) -> String {
    match items {
        [] => "nobody".to_owned(),
        [one] => one.as_ref().to_owned(),
        [start @ .., last] => {
            let start: Vec<&str> = start.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", start.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_follow_the_error() {
        assert_eq!(Decimals::for_resolution(0.03).show(-0.1239), "\u{2212}0.124");
        assert_eq!(Decimals::for_resolution(40.0).show(1234.4), "1234");
        assert_eq!(Decimals::for_ticks(&[0.0, 0.2, 0.2 + 0.4]).show(0.2), "0.2");
        assert_eq!(Decimals::for_ticks(&[-0.025, 0.0]).show(0.0), "0.000");
        assert_eq!(Decimals::for_values([250.0, 3.0]).show(3.0), "3");
        assert_eq!(Decimals::for_resolution(0.03).signed(0.0001), "0.000");
        assert_eq!(Decimals::for_resolution(0.03).signed(-0.0001), "0.000");
        assert_eq!(Decimals::for_resolution(f64::NAN).show(f64::NAN), NOT_MEASURED);
    }

    #[test]
    fn durations_read_naturally() {
        let shown: Vec<String> =
            [0.02, 3.06, 61.0, 125.0, 7_260.0].iter().map(|&s| duration(Number::from(s))).collect();
        assert_eq!(
            shown,
            ["20\u{a0}ms", "3.1\u{a0}s", "61\u{a0}s", "2\u{a0}min 5\u{a0}s", "2\u{a0}h 01\u{a0}min"]
        );
        assert_eq!(duration(Number::MISSING), NOT_MEASURED);
    }

    #[test]
    fn counts_and_ratios() {
        assert_eq!(count(35_746_307), "35\u{202f}746\u{202f}307");
        assert_eq!(magnitude(35_746_307), "35.7\u{a0}M");
        assert_eq!(magnitude(999_600), "1.00\u{a0}M");
        assert_eq!(times(13.64), "13.6 times");
        assert_eq!(signed_percent(-0.0312), "\u{2212}3.1\u{a0}%");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }
}
