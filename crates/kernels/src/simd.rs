//! Vectors of `f32` as the micro-kernels see them.
//!
//! Every method is `#[inline(always)]` and carries no target feature of its own: it takes that of
//! the kernel it is inlined into. Calling one outside a function compiled with the features of its
//! type is undefined behaviour, which is why they are `unsafe`.

/// A vector register of `LANES` numbers.
pub(crate) trait Simd: Copy + 'static {
    /// Numbers in one vector.
    const LANES: usize;
    /// The register type.
    type V: Copy;

    /// All lanes `value`.
    unsafe fn splat(value: f32) -> Self::V;
    /// `LANES` numbers at `from`, of any alignment.
    unsafe fn load(from: *const f32) -> Self::V;
    /// The first `count` numbers at `from`; the other lanes are zero and are not read.
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V;
    /// Lanes `first..end` from `from.add(lane)`; the other lanes are zero and are not read.
    unsafe fn load_range(from: *const f32, first: usize, end: usize) -> Self::V;
    /// Writes `LANES` numbers at `to`, of any alignment.
    unsafe fn store(to: *mut f32, value: Self::V);
    /// Writes the first `count` lanes at `to` and nothing else.
    unsafe fn store_first(to: *mut f32, value: Self::V, count: usize);
    /// `a * b + c`.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a + b`.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// The square root.
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// `a` where it is smaller, else `b`, so that a NaN in `b` stays.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a` where it is larger, else `b`, so that a NaN in `b` stays.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// The nearest whole number, halves to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `a * 2^n` for whole `n` in `-250..=250`.
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V;
    /// The sum of all lanes, in a fixed order.
    unsafe fn sum(a: Self::V) -> f32;
    /// Of the lanes of `a` and then `b`, those at even and those at odd places.
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> (Self::V, Self::V);
    /// The two vectors of which `deinterleave` makes `even` and `odd`.
    unsafe fn interleave(even: Self::V, odd: Self::V) -> (Self::V, Self::V);
    /// Each lane's number from the lane before it, the first's from the last.
    unsafe fn rotate_up(a: Self::V) -> Self::V;
    /// Each lane's number from the lane after it, the last's from the first.
    unsafe fn rotate_down(a: Self::V) -> Self::V;
    /// `a` in the lanes whose bit in `lanes` is set, zero in the others.
    unsafe fn keep(a: Self::V, lanes: u32) -> Self::V;
    /// Of two vectors that nowhere both have bits set, both.
    unsafe fn or(a: Self::V, b: Self::V) -> Self::V;
}

/// `e^x`, with a relative error below 2e-7: `x = n ln 2 + r`, then a polynomial in `r`
/// (S. L. Moshier, Cephes `expf`) times `2^n`.
///
/// # Safety
/// As the methods of `S`.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: by the caller.
    unsafe {
        let x = S::min(S::splat(90.0), S::max(S::splat(-105.0), x));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::mul_add(n, S::splat(-0.693_359_4), x);
        let r = S::mul_add(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.987_569_1e-4);
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = S::mul_add(p, r, S::splat(coefficient));
        }
        let p = S::add(S::mul_add(S::mul(r, r), p, r), S::splat(1.0));
        S::scale(p, n)
    }
}

/// `1 / (1 + e^-x)`.
///
/// # Safety
/// As the methods of `S`.
#[inline(always)]
pub(crate) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: by the caller.
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

/// # Safety
/// `count` readable numbers at `from`.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(from: *const f32, count: usize) -> S::V {
    // SAFETY: by the caller.
    unsafe { if count == S::LANES { S::load(from) } else { S::load_first(from, count) } }
}

/// # Safety
/// Room for `count` numbers at `to`.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd>(to: *mut f32, value: S::V, count: usize) {
    // SAFETY: by the caller.
    unsafe { if count == S::LANES { S::store(to, value) } else { S::store_first(to, value, count) } }
}

/// Runs a block for each vector of `0..len`: `at` is where it starts, `count` how many of its lanes
/// there are. (A closure would be compiled without the features of the kernel around it.)
macro_rules! each_vector {
    ($simd:ty, $len:expr, |$at:ident, $count:ident| $body:block) => {{
        let len = $len;
        let mut $at = 0;
        while $at < len {
            let $count = <$simd>::LANES.min(len - $at);
            $body
            $at += <$simd>::LANES;
        }
    }};
}
pub(crate) use each_vector;

/// Eight lanes of plain Rust.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Simd for Portable {
    const LANES: usize = 8;
    type V = [f32; 8];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller gives 8 readable numbers.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self::V {
        let mut lanes = [0.0; 8];
        for (lane, value) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: the caller gives `count` readable numbers.
            *value = unsafe { *from.add(lane) };
        }
        lanes
    }
    #[inline(always)]
    unsafe fn load_range(from: *const f32, first: usize, end: usize) -> Self::V {
        let mut lanes = [0.0; 8];
        for (lane, value) in lanes.iter_mut().enumerate() {
            if first <= lane && lane < end {
                // SAFETY: the caller gives readable numbers in the range.
                *value = unsafe { *from.wrapping_add(lane) };
            }
        }
        lanes
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::V) {
        // SAFETY: the caller gives room for 8 numbers.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, value: Self::V, count: usize) {
        for (lane, value) in value.iter().enumerate().take(count) {
            // SAFETY: the caller gives room for `count` numbers.
            unsafe { *to.add(lane) = *value };
        }
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // Two roundings: a fused operation without hardware for it is a slow library call.
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] - b[lane])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[lane] / b[lane])
    }
    #[inline(always)]
    unsafe fn sqrt(a: Self::V) -> Self::V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| if a[lane] < b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    unsafe fn round(a: Self::V) -> Self::V {
        // Adding 1.5 * 2^23 leaves no bits for a fraction; larger numbers are whole already.
        const WHOLE: f32 = 12_582_912.0;
        a.map(|a| if a.abs() < 4_194_304.0 { (a + WHOLE) - WHOLE } else { a })
    }
    #[inline(always)]
    unsafe fn scale(a: Self::V, n: Self::V) -> Self::V {
        std::array::from_fn(|lane| {
            let n = n[lane] as i32;
            let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
            a[lane] * power(n >> 1) * power(n - (n >> 1))
        })
    }
    #[inline(always)]
    unsafe fn sum(a: Self::V) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    unsafe fn deinterleave(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        let at = |i: usize| if i < 8 { a[i] } else { b[i - 8] };
        (std::array::from_fn(|lane| at(2 * lane)), std::array::from_fn(|lane| at(2 * lane + 1)))
    }
    #[inline(always)]
    unsafe fn interleave(even: Self::V, odd: Self::V) -> (Self::V, Self::V) {
        let at = |i: usize| if i.is_multiple_of(2) { even[i / 2] } else { odd[i / 2] };
        (std::array::from_fn(at), std::array::from_fn(|lane| at(lane + 8)))
    }
    #[inline(always)]
    unsafe fn rotate_up(a: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[(lane + 7) % 8])
    }
    #[inline(always)]
    unsafe fn rotate_down(a: Self::V) -> Self::V {
        std::array::from_fn(|lane| a[(lane + 1) % 8])
    }
    #[inline(always)]
    unsafe fn keep(a: Self::V, lanes: u32) -> Self::V {
        std::array::from_fn(|lane| if lanes >> lane & 1 == 1 { a[lane] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn or(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|lane| f32::from_bits(a[lane].to_bits() | b[lane].to_bits()))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// AVX2 with fused multiply-add.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    /// A window of eight masks, the first `8 - start` of which are set.
    static MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[inline(always)]
    unsafe fn first_lanes(count: usize) -> __m256i {
        debug_assert!(count <= 8);
        // SAFETY: `count <= 8`, so the eight masks read lie inside the sixteen.
        unsafe { _mm256_loadu_si256(MASKS.as_ptr().add(8 - count).cast()) }
    }

    // SAFETY (whole block): the methods do what the intrinsics of the same name do; the caller
    // runs them only where AVX2 and FMA exist and with pointers valid for the lanes touched.
    impl Simd for Avx2 {
        const LANES: usize = 8;
        type V = __m256;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self::V {
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self::V {
            unsafe { _mm256_maskload_ps(from, first_lanes(count)) }
        }
        #[inline(always)]
        unsafe fn load_range(from: *const f32, first: usize, end: usize) -> Self::V {
            unsafe {
                let mask = _mm256_andnot_si256(first_lanes(first), first_lanes(end));
                _mm256_maskload_ps(from, mask)
            }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: Self::V) {
            unsafe { _mm256_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn store_first(to: *mut f32, value: Self::V, count: usize) {
            unsafe { _mm256_maskstore_ps(to, first_lanes(count), value) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sqrt(a: Self::V) -> Self::V {
            unsafe { _mm256_sqrt_ps(a) }
        }
        #[inline(always)]
        unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm256_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm256_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn round(a: Self::V) -> Self::V {
            unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        unsafe fn scale(a: Self::V, n: Self::V) -> Self::V {
            unsafe {
                let n = _mm256_cvtps_epi32(n);
                let half = _mm256_srai_epi32::<1>(n);
                let rest = _mm256_sub_epi32(n, half);
                let bias = _mm256_set1_epi32(127);
                let half = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
                let rest = _mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias));
                let scaled = _mm256_mul_ps(a, _mm256_castsi256_ps(half));
                _mm256_mul_ps(scaled, _mm256_castsi256_ps(rest))
            }
        }
        #[inline(always)]
        unsafe fn sum(a: Self::V) -> f32 {
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
        #[inline(always)]
        unsafe fn deinterleave(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
            unsafe {
                let even = _mm256_castps_pd(_mm256_shuffle_ps::<0x88>(a, b));
                let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0xDD>(a, b));
                (
                    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b1101_1000>(even)),
                    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b1101_1000>(odd)),
                )
            }
        }
        #[inline(always)]
        unsafe fn interleave(even: Self::V, odd: Self::V) -> (Self::V, Self::V) {
            unsafe {
                let low = _mm256_unpacklo_ps(even, odd);
                let high = _mm256_unpackhi_ps(even, odd);
                (_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high))
            }
        }
        #[inline(always)]
        unsafe fn rotate_up(a: Self::V) -> Self::V {
            unsafe { _mm256_permutevar8x32_ps(a, _mm256_setr_epi32(7, 0, 1, 2, 3, 4, 5, 6)) }
        }
        #[inline(always)]
        unsafe fn rotate_down(a: Self::V) -> Self::V {
            unsafe { _mm256_permutevar8x32_ps(a, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0)) }
        }
        #[inline(always)]
        unsafe fn keep(a: Self::V, lanes: u32) -> Self::V {
            unsafe {
                let own = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                let chosen = _mm256_and_si256(_mm256_set1_epi32(lanes as i32), own);
                _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_cmpeq_epi32(chosen, own)))
            }
        }
        #[inline(always)]
        unsafe fn or(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm256_or_ps(a, b) }
        }
    }

    /// AVX-512 F.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    #[inline(always)]
    fn first_lanes_16(count: usize) -> __mmask16 {
        debug_assert!(count <= 16);
        ((1u32 << count) - 1) as __mmask16
    }

    // SAFETY (whole block): as above, where AVX-512 F exists.
    impl Simd for Avx512 {
        const LANES: usize = 16;
        type V = __m512;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self::V {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn load_first(from: *const f32, count: usize) -> Self::V {
            unsafe { _mm512_maskz_loadu_ps(first_lanes_16(count), from) }
        }
        #[inline(always)]
        unsafe fn load_range(from: *const f32, first: usize, end: usize) -> Self::V {
            unsafe { _mm512_maskz_loadu_ps(first_lanes_16(end) & !first_lanes_16(first), from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: Self::V) {
            unsafe { _mm512_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn store_first(to: *mut f32, value: Self::V, count: usize) {
            unsafe { _mm512_mask_storeu_ps(to, first_lanes_16(count), value) }
        }
        #[inline(always)]
        unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sqrt(a: Self::V) -> Self::V {
            unsafe { _mm512_sqrt_ps(a) }
        }
        #[inline(always)]
        unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_min_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_max_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn round(a: Self::V) -> Self::V {
            unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
        }
        #[inline(always)]
        unsafe fn scale(a: Self::V, n: Self::V) -> Self::V {
            unsafe { _mm512_scalef_ps(a, n) }
        }
        #[inline(always)]
        unsafe fn sum(a: Self::V) -> f32 {
            unsafe { _mm512_reduce_add_ps(a) }
        }
        #[inline(always)]
        unsafe fn deinterleave(a: Self::V, b: Self::V) -> (Self::V, Self::V) {
            unsafe {
                let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
                let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
                (_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b))
            }
        }
        #[inline(always)]
        unsafe fn interleave(even: Self::V, odd: Self::V) -> (Self::V, Self::V) {
            unsafe {
                let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
                let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
                (_mm512_permutex2var_ps(even, low, odd), _mm512_permutex2var_ps(even, high, odd))
            }
        }
        #[inline(always)]
        unsafe fn rotate_up(a: Self::V) -> Self::V {
            unsafe {
                let a = _mm512_castps_si512(a);
                _mm512_castsi512_ps(_mm512_alignr_epi32::<15>(a, a))
            }
        }
        #[inline(always)]
        unsafe fn rotate_down(a: Self::V) -> Self::V {
            unsafe {
                let a = _mm512_castps_si512(a);
                _mm512_castsi512_ps(_mm512_alignr_epi32::<1>(a, a))
            }
        }
        #[inline(always)]
        unsafe fn keep(a: Self::V, lanes: u32) -> Self::V {
            unsafe { _mm512_maskz_mov_ps(lanes as __mmask16, a) }
        }
        #[inline(always)]
        unsafe fn or(a: Self::V, b: Self::V) -> Self::V {
            unsafe {
                let (a, b) = (_mm512_castps_si512(a), _mm512_castps_si512(b));
                _mm512_castsi512_ps(_mm512_or_si512(a, b))
            }
        }
    }
}

/// Declares a function that runs `$body::<S>` compiled for the instruction set it is given.
macro_rules! for_every_set {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(set: $crate::cpu::InstructionSet, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
            unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: compiled with the features of the type; the rest is the caller's.
                unsafe { $body::<$crate::simd::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: as above.
                unsafe { $body::<$crate::simd::Avx2>($($arg),*) }
            }
            // SAFETY: a set in use is available, and the rest is the caller's promise.
            unsafe {
                match set {
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::InstructionSet::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::cpu::InstructionSet::Avx2 => avx2($($arg),*),
                    _ => $body::<$crate::simd::Portable>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use for_every_set;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::InstructionSet;

    for_every_set! {
        /// # Safety
        /// None.
        unsafe fn exp_of(values: &mut [f32; 16]) = exp_all
    }

    #[inline(always)]
    unsafe fn exp_all<S: Simd>(values: &mut [f32; 16]) {
        for chunk in values.chunks_exact_mut(S::LANES) {
            // SAFETY: a chunk holds one vector.
            unsafe { S::store(chunk.as_mut_ptr(), exp::<S>(S::load(chunk.as_ptr()))) };
        }
    }

    #[test]
    fn exponential_is_right_to_the_last_bits() {
        for set in InstructionSet::available() {
            for start in -6000..5600 {
                let x: [f32; 16] = std::array::from_fn(|i| (start * 16 + i as i32) as f32 / 1024.0);
                let mut y = x;
                // SAFETY: the set is available.
                unsafe { exp_of(set, &mut y) };
                for (x, y) in x.iter().zip(y) {
                    let expected = f64::from(*x).exp();
                    let error = ((f64::from(y) - expected) / expected).abs();
                    assert!(error < 2e-7 || expected < 1.2e-38, "{set:?} exp({x}) = {y}");
                }
            }
            let mut special = [0.0; 16];
            special[..5].copy_from_slice(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 100.0, -200.0]);
            // SAFETY: the set is available.
            unsafe { exp_of(set, &mut special) };
            assert!(special[0].is_nan());
            assert_eq!(special[1..6], [f32::INFINITY, 0.0, f32::INFINITY, 0.0, 1.0]);
        }
    }
}
