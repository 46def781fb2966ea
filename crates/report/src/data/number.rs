//! Numbers that may be missing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A measured number, or nothing.
///
/// NaN and infinities count as missing: they become `null` in JSON and "not measured" on the page, so that no
/// consumer meets a number that is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Option<f64>", into = "Option<f64>")]
#[schemars(with = "Option<f64>")]
pub struct Number(Option<f64>);

impl Number {
    /// A number that was not measured.
    pub const MISSING: Number = Number(None);

    /// The finite value, if there is one.
    pub fn get(self) -> Option<f64> {
        self.0
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number(value.is_finite().then_some(value))
    }
}

impl From<Option<f64>> for Number {
    fn from(value: Option<f64>) -> Self {
        Number(value.filter(|v| v.is_finite()))
    }
}

impl From<Number> for Option<f64> {
    fn from(value: Number) -> Self {
        value.0
    }
}

/// A confidence interval `low..=high` at the behaviour's confidence level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The interval between two finite ends; nothing if an end is NaN or infinite or the ends are swapped.
    pub fn new(low: f64, high: f64) -> Option<Self> {
        (low.is_finite() && high.is_finite() && low <= high).then_some(Interval { low, high })
    }

    /// Whether `value` lies inside, ends included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// A statistic that can be undefined for a reason worth telling.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case", deny_unknown_fields)]
pub enum Estimate {
    /// It was computed.
    Measured {
        /// The point estimate.
        value: f64,
        /// Its confidence interval, if one was computed.
        interval: Option<Interval>,
    },
    /// It has no value for these data.
    Undefined {
        /// The rest of the sentence "undefined because ...", for example "all test utilities are equal".
        reason: String,
    },
    /// Nobody computed it.
    #[default]
    NotMeasured,
}

impl Estimate {
    /// A measured value; a value that is NaN or infinite becomes [`Estimate::NotMeasured`].
    pub fn measured(value: f64, interval: Option<Interval>) -> Self {
        if value.is_finite() { Estimate::Measured { value, interval } } else { Estimate::NotMeasured }
    }

    /// Undefined because of `reason`.
    pub fn undefined(reason: impl Into<String>) -> Self {
        Estimate::Undefined { reason: reason.into() }
    }

    /// The finite point estimate, if there is one.
    pub fn value(&self) -> Option<f64> {
        match self {
            Estimate::Measured { value, .. } => value.is_finite().then_some(*value),
            Estimate::Undefined { .. } | Estimate::NotMeasured => None,
        }
    }

    /// The confidence interval, if there is one.
    pub fn interval(&self) -> Option<Interval> {
        match self {
            Estimate::Measured { interval, .. } => *interval,
            Estimate::Undefined { .. } | Estimate::NotMeasured => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_numbers_are_missing_and_become_null() {
        let numbers =
            [Number::from(1.5), Number::from(f64::NAN), Number::from(Some(f64::INFINITY)), Number::MISSING];
        let json = serde_json::to_string(&numbers).expect("plain numbers");
        assert_eq!(json, "[1.5,null,null,null]");
        let back: Vec<Number> = serde_json::from_str(&json).expect("what was just written");
        assert_eq!(back, numbers);
    }

    #[test]
    fn an_interval_needs_two_finite_ordered_ends() {
        assert_eq!(Interval::new(2.0, 1.0), None);
        assert_eq!(Interval::new(f64::NAN, 1.0), None);
        assert!(Interval::new(-1.0, 1.0).is_some_and(|i| i.contains(1.0) && !i.contains(1.1)));
    }

    #[test]
    fn an_estimate_that_is_nan_was_not_measured() {
        assert_eq!(Estimate::measured(f64::NAN, None), Estimate::NotMeasured);
        assert_eq!(Estimate::undefined("x").value(), None);
    }
}
