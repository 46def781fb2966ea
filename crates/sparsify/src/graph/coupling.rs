//! Disjoint sets of channels.

/// Channels written by one layer, before it is known what they are coupled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Channels(usize);

impl Channels {
    /// Position in the order of making.
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// Sets of [`Channels`], joined step by step (union-find). A set is represented by its first member.
#[derive(Debug, Default)]
pub(super) struct Coupling {
    parent: Vec<usize>,
}

impl Coupling {
    /// New channels, coupled to nothing yet.
    pub(super) fn add(&mut self) -> Channels {
        self.parent.push(self.parent.len());
        Channels(self.parent.len() - 1)
    }

    /// The first channels that these are coupled to.
    pub(super) fn first(&self, Channels(mut at): Channels) -> Channels {
        while self.parent[at] != at {
            at = self.parent[at];
        }
        Channels(at)
    }

    /// Makes two sets one.
    pub(super) fn join(&mut self, a: Channels, b: Channels) {
        let (Channels(a), Channels(b)) = (self.first(a), self.first(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_sets_share_their_first_member() {
        let mut coupling = Coupling::default();
        let c: Vec<Channels> = (0..6).map(|_| coupling.add()).collect();
        coupling.join(c[4], c[5]);
        coupling.join(c[5], c[2]);
        coupling.join(c[1], c[3]);
        let first: Vec<Channels> = c.iter().map(|&x| coupling.first(x)).collect();
        assert_eq!(first, [c[0], c[1], c[2], c[1], c[2], c[2]]);
        coupling.join(c[3], c[4]);
        assert_eq!(coupling.first(c[5]), c[1]);
    }
}
