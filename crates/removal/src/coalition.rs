//! A set of contributors.

use crate::RemovalError;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

const WORD_BITS: usize = u64::BITS as usize;

/// A set of the contributors `0..n`: those whose images remain in training.
///
/// As text (`Display`, `FromStr`, serde) a coalition is `n:hex`: the number of contributors, and in `ceil(n / 4)`
/// lower-case hexadecimal digits the number whose bit `i` tells whether contributor `i` is a member. `5:1a` is
/// contributors 1, 3 and 4 of 5. Every coalition has exactly one text, so the text can name files and keys.
///
/// Coalitions are ordered by `n`, then by that number.
///
/// ```
/// use removal::Coalition;
///
/// let coalition = Coalition::from_members(5, [1, 3, 4])?;
/// assert_eq!(coalition.to_string(), "5:1a");
/// assert_eq!("5:1a".parse::<Coalition>()?, coalition);
/// assert_eq!(coalition.complement().members().collect::<Vec<_>>(), [0, 2]);
/// # Ok::<(), removal::RemovalError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Coalition {
    n: usize,
    /// Bit `i % 64` of word `i / 64` is contributor `i`; bits from `n` on are zero.
    words: Vec<u64>,
}

impl Coalition {
    /// Nobody out of `n` contributors.
    pub fn empty(n: usize) -> Self {
        Self { n, words: vec![0; n.div_ceil(WORD_BITS)] }
    }

    /// All `n` contributors.
    pub fn full(n: usize) -> Self {
        Self::empty(n).complement()
    }

    /// The given contributors out of `n`. A member named twice counts once.
    ///
    /// # Errors
    /// [`RemovalError::MemberOutOfRange`] for a member of `n` or more.
    pub fn from_members(n: usize, members: impl IntoIterator<Item = usize>) -> Result<Self, RemovalError> {
        let mut coalition = Self::empty(n);
        for member in members {
            if member >= n {
                return Err(RemovalError::MemberOutOfRange { member, n });
            }
            coalition.words[member / WORD_BITS] |= 1 << (member % WORD_BITS);
        }
        Ok(coalition)
    }

    /// Number of contributors there are, members or not.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether nobody is a member.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Whether every contributor is a member.
    pub fn is_full(&self) -> bool {
        let [whole @ .., last] = self.words.as_slice() else { return true };
        let unused = self.words.len() * WORD_BITS - self.n;
        whole.iter().all(|&word| word == u64::MAX) && *last == u64::MAX >> unused
    }

    /// Whether `contributor` is a member; false for numbers of `n` and more.
    pub fn contains(&self, contributor: usize) -> bool {
        contributor < self.n && self.words[contributor / WORD_BITS] >> (contributor % WORD_BITS) & 1 == 1
    }

    /// The members as bits: bit `i % 64` of word `i / 64` is contributor `i`; bits from `n` on are zero.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The members in ascending order.
    pub fn members(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.n).filter(|&contributor| self.contains(contributor))
    }

    /// Those who are not members.
    pub fn complement(&self) -> Self {
        let mut words: Vec<u64> = self.words.iter().map(|word| !word).collect();
        let used = self.n % WORD_BITS;
        if let (Some(last), true) = (words.last_mut(), used != 0) {
            *last &= (1 << used) - 1;
        }
        Self { n: self.n, words }
    }

    /// The indicator vector over contributors, 1 for members and 0 for the others: a row of a design matrix.
    pub fn indicator(&self) -> Vec<f64> {
        (0..self.n).map(|contributor| f64::from(u8::from(self.contains(contributor)))).collect()
    }
}

impl Ord for Coalition {
    fn cmp(&self, other: &Self) -> Ordering {
        self.n.cmp(&other.n).then_with(|| self.words.iter().rev().cmp(other.words.iter().rev()))
    }
}

impl PartialOrd for Coalition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Coalition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.n)?;
        for digit in (0..self.n.div_ceil(4)).rev() {
            let bit = 4 * digit;
            write!(f, "{:x}", self.words[bit / WORD_BITS] >> (bit % WORD_BITS) & 0xf)?;
        }
        Ok(())
    }
}

impl FromStr for Coalition {
    type Err = RemovalError;

    fn from_str(text: &str) -> Result<Self, RemovalError> {
        let wrong = |reason| RemovalError::CoalitionText { text: text.to_owned(), reason };
        let (n, digits) = text.split_once(':').ok_or_else(|| wrong("there is no colon"))?;
        if n.is_empty() || !n.bytes().all(|byte| byte.is_ascii_digit()) || (n.len() > 1 && n.starts_with('0'))
        {
            return Err(wrong("the part before the colon is not a plain number of contributors"));
        }
        let n: usize = n.parse().map_err(|_| wrong("the number of contributors is too large"))?;
        if digits.len() != n.div_ceil(4) {
            return Err(wrong("the mask does not have one hexadecimal digit for every four contributors"));
        }
        let mut coalition = Self::empty(n);
        for (digit, character) in digits.bytes().rev().enumerate() {
            let value = match character {
                b'0'..=b'9' => character - b'0',
                b'a'..=b'f' => character - b'a' + 10,
                _ => return Err(wrong("the mask has a character other than 0-9 and a-f")),
            };
            let bit = 4 * digit;
            if bit + 4 > n && usize::from(value) >= 1 << (n - bit) {
                return Err(wrong("the mask names a contributor beyond the last"));
            }
            coalition.words[bit / WORD_BITS] |= u64::from(value) << (bit % WORD_BITS);
        }
        Ok(coalition)
    }
}

impl Serialize for Coalition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Coalition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn coalitions() -> impl Strategy<Value = (usize, BTreeSet<usize>)> {
        (1usize..300).prop_flat_map(|n| (Just(n), proptest::collection::btree_set(0..n, 0..=n)))
    }

    proptest! {
        #[test]
        fn holds_exactly_its_members((n, members) in coalitions()) {
            let coalition = Coalition::from_members(n, members.iter().copied()).unwrap();
            prop_assert_eq!(coalition.members().collect::<BTreeSet<_>>(), members.clone());
            prop_assert_eq!(coalition.len(), members.len());
            prop_assert_eq!(coalition.is_empty(), members.is_empty());
            prop_assert_eq!(coalition.is_full(), members.len() == n);
            prop_assert_eq!(coalition.indicator().iter().sum::<f64>(), members.len() as f64);
            prop_assert!((0..n + 70).all(|i| coalition.contains(i) == members.contains(&i)));
            let complement = coalition.complement();
            prop_assert!((0..n).all(|i| complement.contains(i) != coalition.contains(i)));
            prop_assert_eq!(complement.len(), n - members.len());
            prop_assert_eq!(complement.complement(), coalition);
        }

        #[test]
        fn text_and_serde_round_trip((n, members) in coalitions()) {
            let coalition = Coalition::from_members(n, members).unwrap();
            prop_assert_eq!(&coalition.to_string().parse::<Coalition>().unwrap(), &coalition);
            let json = serde_json::to_string(&coalition).unwrap();
            prop_assert_eq!(&json, &format!("\"{coalition}\""));
            prop_assert_eq!(&serde_json::from_str::<Coalition>(&json).unwrap(), &coalition);
            prop_assert_eq!(&serde_json::from_reader::<_, Coalition>(json.as_bytes()).unwrap(), &coalition);
        }

        #[test]
        fn text_of_one_length_sorts_as_coalitions(n in 1usize..200, a in any::<[u64; 4]>(), b in any::<[u64; 4]>()) {
            let pick = |bits: [u64; 4]| {
                Coalition::from_members(n, (0..n).filter(|i| bits[i / 64] >> (i % 64) & 1 == 1)).unwrap()
            };
            let (a, b) = (pick(a), pick(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn reading_any_text_never_panics(text in "[0-9:a-gx ]{0,20}") {
            if let Ok(coalition) = text.parse::<Coalition>() {
                prop_assert_eq!(coalition.to_string(), text);
            }
        }
    }

    #[test]
    fn text_is_a_number_with_one_bit_a_contributor() {
        assert_eq!(Coalition::from_members(12, [0, 11]).unwrap().to_string(), "12:801");
        assert_eq!(Coalition::from_members(65, [64]).unwrap().to_string(), "65:10000000000000000");
        assert_eq!(Coalition::full(5).to_string(), "5:1f");
        assert_eq!(Coalition::empty(0).to_string(), "0:");
        assert_eq!("0:".parse::<Coalition>().unwrap(), Coalition::full(0));
    }

    #[test]
    fn refuses_text_that_is_no_coalition() {
        for (text, reason) in [
            ("51f", "there is no colon"),
            ("x:1f", "plain number"),
            ("+5:1f", "plain number"),
            ("05:1f", "plain number"),
            ("99999999999999999999999:0", "too large"),
            ("5:f", "one hexadecimal digit for every four"),
            ("18446744073709551615:0", "one hexadecimal digit for every four"),
            ("5:1F", "other than 0-9 and a-f"),
            ("5:3f", "beyond the last"),
            ("5:20", "beyond the last"),
        ] {
            let message = text.parse::<Coalition>().unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains(text), "{message}");
        }
    }

    #[test]
    fn refuses_members_out_of_range() {
        let error = Coalition::from_members(3, [1, 3]).unwrap_err();
        assert_eq!(error, RemovalError::MemberOutOfRange { member: 3, n: 3 });
        assert_eq!(Coalition::from_members(3, [1, 1]).unwrap().len(), 1);
    }
}
