//! The instruction set the kernels run on, chosen once at run time.

use std::cell::Cell;
use std::sync::OnceLock;

/// Environment variable that lowers the instruction set: `avx512`, `avx2` or `portable`.
/// A set that the processor lacks is ignored. Read once per process.
pub const INSTRUCTION_SET_VARIABLE: &str = "TRIBUTE_KERNELS";

/// A set of instructions for which the kernels are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstructionSet {
    /// Plain Rust, whatever the compiler makes of it.
    Portable,
    /// AVX2 with fused multiply-add: vectors of 8 numbers.
    Avx2,
    /// AVX-512 F and VL: vectors of 16 numbers.
    Avx512,
}

impl InstructionSet {
    /// Every set that this processor can run, the slowest first.
    pub fn available() -> Vec<Self> {
        [Self::Portable, Self::Avx2, Self::Avx512].into_iter().filter(|set| set.is_available()).collect()
    }

    /// Whether this processor can run the set.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The set that the kernels called from this thread use.
    pub fn current() -> Self {
        FORCED.get().unwrap_or_else(detected)
    }

    /// Runs `work` with the kernels called from this thread on `self`, for tests and benches.
    /// A set that the processor lacks runs as [`InstructionSet::Portable`].
    pub fn force<R>(self, work: impl FnOnce() -> R) -> R {
        let set = if self.is_available() { self } else { Self::Portable };
        let before = FORCED.replace(Some(set));
        let result = work();
        FORCED.set(before);
        result
    }
}

thread_local! {
    static FORCED: Cell<Option<InstructionSet>> = const { Cell::new(None) };
}

fn detected() -> InstructionSet {
    static DETECTED: OnceLock<InstructionSet> = OnceLock::new();
    *DETECTED.get_or_init(|| {
        let best = InstructionSet::available().pop().unwrap_or(InstructionSet::Portable);
        let wanted = match std::env::var(INSTRUCTION_SET_VARIABLE).as_deref() {
            Ok("portable") => InstructionSet::Portable,
            Ok("avx2") => InstructionSet::Avx2,
            _ => best,
        };
        wanted.min(best)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forcing_is_undone_afterwards() {
        let before = InstructionSet::current();
        InstructionSet::Portable.force(|| {
            assert_eq!(InstructionSet::current(), InstructionSet::Portable);
        });
        assert_eq!(InstructionSet::current(), before);
    }
}
