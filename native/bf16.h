// Halves of floats (bfloat16) in vectors, and the instruction that sums products of pairs of them.
//
// Part of vec.h for instruction sets that have it; the kernels find these beside the functions of the same names
// for floats.
#pragma once

namespace hswish::HSWISH_LEVEL {

template <class V>
static inline V load(const Bf16* p) {
  if constexpr (sizeof(V) == 64)
    return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16);
  else
    return (V)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16);
}

// To the nearest, of two to the even one; what is below 2^-126 to zero.
static inline void store(Bf16* p, f32x16 v) {
  const auto halves = _mm512_cvtneps_pbh((__m512)v);
  std::memcpy(p, &halves, sizeof(halves));
}

static inline void store(Bf16* p, f32x8 v) {
  const auto halves = _mm256_cvtneps_pbh((__m256)v);
  std::memcpy(p, &halves, sizeof(halves));
}

// Pairs of halves, one in each lane of a V.
typedef int32_t pairs16 __attribute__((vector_size(64)));
typedef int32_t pairs8 __attribute__((vector_size(32)));
template <class V>
using Pairs = std::conditional_t<sizeof(V) == 64, pairs16, pairs8>;

template <class V>
static inline Pairs<V> factors(const Bf16* w) {
  Pairs<V> v;
  std::memcpy(&v, w, sizeof(v));
  return v;
}

template <class V>
static inline Pairs<V> every(const Bf16* x) {
  int32_t pair;
  std::memcpy(&pair, x, sizeof(pair));
  return Pairs<V>{} + pair;
}

static inline f32x16 multiply_add(f32x16 sum, pairs16 a, pairs16 b) {
  return (f32x16)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

static inline f32x8 multiply_add(f32x8 sum, pairs8 a, pairs8 b) {
  return (f32x8)_mm256_dpbf16_ps((__m256)sum, (__m256bh)a, (__m256bh)b);
}

static inline pairs8 lower(pairs16 v) { return (pairs8)_mm512_castsi512_si256((__m512i)v); }

// The first or the second half of each pair, as floats.
template <int which, class V>
static inline V part(Pairs<V> pairs) {
  return (V)(which ? pairs & static_cast<int32_t>(0xffff0000) : pairs << 16);
}

}  // namespace hswish::HSWISH_LEVEL
