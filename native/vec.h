// Vectors of floats, as wide as the instruction set that this file is compiled for.
//
// The compiler's own vector types do the work: the same source is compiled for every level
// (see CMakeLists.txt), and only the widths below differ.
//
// All functions here and in the kernels are static, and none of the standard library's templates is
// used: of functions that several levels share the linker keeps one, perhaps the widest one's.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cstring>
#include <type_traits>

#include "layers.h"

namespace hswish::HSWISH_LEVEL {

typedef float f32x16 __attribute__((vector_size(64)));
typedef float f32x8 __attribute__((vector_size(32)));
typedef float f32x4 __attribute__((vector_size(16)));

// Vec: the natural vector. PANEL: output channels that one pass of the matrix kernel computes.
// TILE: pixels it computes them for; TILE x PANEL accumulators must fit the registers.
#if defined(__AVX512F__)
typedef f32x16 Vec;
constexpr int PANEL = 32, TILE = 14;
#elif defined(__AVX2__)
typedef f32x8 Vec;
constexpr int PANEL = 16, TILE = 6;
#elif defined(HSWISH_NEON)
typedef f32x4 Vec;
constexpr int PANEL = 16, TILE = 6;
#else
typedef f32x4 Vec;
constexpr int PANEL = 8, TILE = 6;
#endif

template <class V>
constexpr int LANES = sizeof(V) / sizeof(float);

template <class V>
static inline V load(const float* p) {
  V v;
  std::memcpy(&v, p, sizeof(V));  // an unaligned load
  return v;
}

template <class V>
static inline void store(float* p, V v) {
  std::memcpy(p, &v, sizeof(V));
}

// To an aligned place, without fetching the line first and without keeping it in the caches, where instructions can.
// Other threads see such stores in order after finish_stores.
template <class V>
static inline void store_past(float* p, V v) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return _mm512_stream_ps(p, reinterpret_cast<__m512>(v));
#endif
#if defined(__AVX__)
  if constexpr (sizeof(V) == 32) return _mm256_stream_ps(p, reinterpret_cast<__m256>(v));
#endif
  store(p, v);
}

static inline void finish_stores() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// v[places[i]] in every lane i.
template <class V, class Places>
static inline V permuted(V v, Places places) {
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return (V)_mm512_permutexvar_ps((__m512i)places, (__m512)v);
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(V) == 32) return (V)_mm256_permutevar8x32_ps((__m256)v, (__m256i)places);
#endif
  V made;
  for (int i = 0; i < LANES<V>; i++) made[i] = v[places[i]];
  return made;
}

template <class V>
static inline V splat(float x) {
  return x - V{};
}

// What a step of a sum multiplies (bf16.h has the same for pairs of halves): a vector of weights, one number of a
// pixel in every lane, their product added to a sum; and the numbers that such a vector holds.
template <class V>
static inline V factors(const float* w) {
  return load<V>(w);
}

template <class V>
static inline V every(const float* x) {
  return splat<V>(*x);
}

template <class V>
static inline V multiply_add(V sum, V a, V b) {
  return sum + a * b;
}

template <int which, class V>
static inline V part(V factors) {
  return factors;
}

// What comes after waits for these sums. (g++ would keep in registers what later steps read again, and sums in memory.)
template <class V, int N>
static inline void settle(V (&sum)[N]) {
#if defined(__x86_64__)
  if constexpr (sizeof(V) <= sizeof(Vec)) {
#pragma GCC unroll 8
    for (int i = 0; i < N; i++) asm("" : "+v"(sum[i]));
    asm volatile("" : : : "memory");
  }
#endif
}

static inline void prefetch(const float* p) { __builtin_prefetch(p, 0, 2); }
static inline void prefetch_to_write(const void* p) { __builtin_prefetch(p, 1, 3); }

// The larger and the smaller; where one is not a number the second operand comes back (or NaN, on ARM),
// as in the instructions. (The compiler makes a comparison and a blend of `a > b ? a : b`.)
#if defined(__x86_64__)
static inline f32x4 max(f32x4 a, f32x4 b) { return (f32x4)_mm_max_ps((__m128)a, (__m128)b); }
static inline f32x4 min(f32x4 a, f32x4 b) { return (f32x4)_mm_min_ps((__m128)a, (__m128)b); }
#endif
#if defined(__AVX__)
static inline f32x8 max(f32x8 a, f32x8 b) { return (f32x8)_mm256_max_ps((__m256)a, (__m256)b); }
static inline f32x8 min(f32x8 a, f32x8 b) { return (f32x8)_mm256_min_ps((__m256)a, (__m256)b); }
#endif
#if defined(__AVX512F__)
static inline f32x16 max(f32x16 a, f32x16 b) { return (f32x16)_mm512_max_ps((__m512)a, (__m512)b); }
static inline f32x16 min(f32x16 a, f32x16 b) { return (f32x16)_mm512_min_ps((__m512)a, (__m512)b); }
static inline f32x8 lower(f32x16 v) { return (f32x8)_mm512_castps512_ps256((__m512)v); }
#endif

#if defined(__aarch64__)
static inline f32x4 max(f32x4 a, f32x4 b) { return (f32x4)vmaxq_f32((float32x4_t)a, (float32x4_t)b); }
static inline f32x4 min(f32x4 a, f32x4 b) { return (f32x4)vminq_f32((float32x4_t)a, (float32x4_t)b); }
#endif

template <class V>
static inline V max(V a, V b) {
  return a > b ? a : b;
}

template <class V>
static inline V min(V a, V b) {
  return a < b ? a : b;
}

// Section 5.2 of the paper.

template <class V>
static inline V h_sigmoid(V x) {
  return min(splat<V>(1.0f), max(V{}, x * (1.0f / 6.0f) + 0.5f));  // ReLU6(x + 3) / 6 in three instructions
}

template <Act act, class V>
static inline V activate(V x) {
  if constexpr (act == Act::relu) return max(V{}, x);
  if constexpr (act == Act::hard_swish) return x * h_sigmoid(x);
  return x;
}

}  // namespace hswish::HSWISH_LEVEL

#if defined(__AVX512BF16__)
#include "bf16.h"
#endif
