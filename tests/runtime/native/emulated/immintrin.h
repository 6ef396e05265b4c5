// Plain loops for the instructions of AVX-512 and VNNI that the 8-bit kernels use, for processors that have none of them.
//
// Stands in the way of the compiler's own file (-I), includes it, and gives the names another meaning.
// test_builds.py compiles native/int8_kernels.cpp with it, once for each of EMULATED_AVXVNNI (of 32 bytes), EMULATED_AVX512,
// EMULATED_VNNI and EMULATED_VBMI.
#pragma once

#include_next <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace emulated {

// 64 bytes as numbers of type T.
template <class T>
struct Numbers {
  T at[64 / sizeof(T)];

  template <class V>
  static Numbers of(V v) {
    Numbers n{};
    std::memcpy(&n, &v, sizeof(v));
    return n;
  }
  template <class V = __m512i>
  V as() const {
    V v;
    std::memcpy(&v, this, 64);
    return v;
  }
};

template <class T, class F>
static inline __m512i made(F number) {
  Numbers<T> n;
  for (int i = 0; i < int(64 / sizeof(T)); i++) n.at[i] = static_cast<T>(number(i));
  return n.as();
}

static inline long clamp(long x, long low, long high) { return x < low ? low : x > high ? high : x; }

static inline __m512i load(const void* p) {
  __m512i v;
  std::memcpy(&v, p, 64);
  return v;
}
static inline void store(void* p, __m512i v) { std::memcpy(p, &v, 64); }

template <class... Int>
static inline __m512i listed(Int... numbers) {
  const int32_t list[16] = {numbers...};
  return load(list);
}
static inline __m512i all16(short x) {
  return made<int16_t>([=](int) { return x; });
}
static inline __m512i all8(char x) {
  return made<int8_t>([=](int) { return x; });
}

// Parts of 16 bytes. What widening leaves undefined is rubbish here too.
static inline __m512i widened(__m128i part) {
  __m512i v = all8(0x55);
  std::memcpy(&v, &part, 16);
  return v;
}
static inline __m128i part(__m512i v, int which) {
  __m128i found;
  std::memcpy(&found, reinterpret_cast<char*>(&v) + 16 * which, 16);
  return found;
}
static inline __m128i first_part(__m512i v) { return part(v, 0); }
static inline __m512i with_part(__m512i v, __m128i part, int which) {
  std::memcpy(reinterpret_cast<char*>(&v) + 16 * which, &part, 16);
  return v;
}
static inline __m512i four_times(__m128i part) {
  const auto x = Numbers<uint8_t>::of(part);
  return made<uint8_t>([&](int i) { return x.at[i % 16]; });
}

// Conversions.
template <class From, class To, class V>
static inline __m512i extended(V v) {
  const auto x = Numbers<From>::of(v);
  return made<To>([&](int i) { return x.at[i]; });
}
static inline __m512i rounded(__m512 v) {
  return made<int32_t>([&](int i) { return std::fabs(v[i]) < 2147483648.0f ? static_cast<int32_t>(std::nearbyint(v[i])) : INT32_MIN; });
}
// Within each part of 16 bytes: first a's numbers, then b's.
template <class From, class To>
static inline __m512i packed(__m512i a, __m512i b, long low, long high) {
  const auto x = Numbers<From>::of(a), y = Numbers<From>::of(b);
  constexpr int from = 16 / sizeof(From), to = 16 / sizeof(To);
  return made<To>([&](int i) {
    const int part = i / to * from, within = i % to;
    return clamp(within < from ? x.at[part + within] : y.at[part + within - from], low, high);
  });
}
static inline __m512i to_16(__m512i a, __m512i b) { return packed<int32_t, int16_t>(a, b, -32768, 32767); }
static inline __m512i to_8(__m512i a, __m512i b) { return packed<int16_t, uint8_t>(a, b, 0, 255); }

// Arithmetic.
template <class T, class F>
static inline __m512i each(__m512i a, __m512i b, F of) {
  const auto x = Numbers<T>::of(a), y = Numbers<T>::of(b);
  return made<T>([&](int i) { return of(x.at[i], y.at[i]); });
}
static inline __m512i add_32(__m512i a, __m512i b) {
  return each<uint32_t>(a, b, [](uint32_t x, uint32_t y) { return x + y; });
}
static inline __m512i add_16(__m512i a, __m512i b) {
  return each<int16_t>(a, b, [](long x, long y) { return clamp(x + y, -32768, 32767); });
}
static inline __m512i larger_8(__m512i a, __m512i b) {
  return each<uint8_t>(a, b, [](int x, int y) { return x > y ? x : y; });
}
static inline __m512i shifted_16(__m512i a, int by) {
  return each<uint16_t>(a, a, [=](int x, int) { return x >> by; });
}
static inline __m512 larger(__m512 a, __m512 b) {
  for (int i = 0; i < 16; i++) b[i] = a[i] > b[i] ? a[i] : b[i];
  return b;
}
static inline __m512 smaller(__m512 a, __m512 b) {
  for (int i = 0; i < 16; i++) b[i] = a[i] < b[i] ? a[i] : b[i];
  return b;
}
static inline __m512i pairs_of_16(__m512i a, __m512i b) {
  const auto x = Numbers<int16_t>::of(a), y = Numbers<int16_t>::of(b);
  return made<int32_t>([&](int i) { return x.at[2 * i] * y.at[2 * i] + x.at[2 * i + 1] * y.at[2 * i + 1]; });
}
template <class V>
static inline V add_fours_of_8(V sum, V a, V b) {
  auto s = Numbers<int32_t>::of(sum);
  const auto x = Numbers<uint8_t>::of(a);
  const auto y = Numbers<int8_t>::of(b);
  for (int i = 0; i < 64; i++) s.at[i / 4] += x.at[i] * y.at[i];
  std::memcpy(&sum, &s, sizeof(V));
  return sum;
}

// Moves.
template <class T>
static inline __m512i moved(__m512i places, __m512i v) {
  const auto at = Numbers<T>::of(places), x = Numbers<T>::of(v);
  return made<T>([&](int i) { return x.at[at.at[i] % (64 / sizeof(T))]; });
}
static inline __m512i moved_of_two(__m512i a, __m512i places, __m512i b) {
  const auto at = Numbers<uint8_t>::of(places), x = Numbers<uint8_t>::of(a), y = Numbers<uint8_t>::of(b);
  return made<uint8_t>([&](int i) { return (at.at[i] & 64 ? y : x).at[at.at[i] % 64]; });
}
static inline __m512i moved_within_parts(__m512i v, __m512i places) {
  const auto at = Numbers<uint8_t>::of(places), x = Numbers<uint8_t>::of(v);
  return made<uint8_t>([&](int i) { return at.at[i] & 128 ? 0 : x.at[i / 16 * 16 + at.at[i] % 16]; });
}
static inline uint64_t highest_bits(__m512i v) {
  const auto x = Numbers<uint8_t>::of(v);
  uint64_t bits = 0;
  for (int i = 0; i < 64; i++) bits |= static_cast<uint64_t>(x.at[i] >> 7) << i;
  return bits;
}
static inline __m512i chosen(__m512i otherwise, uint64_t bits, __m512i v) {
  const auto x = Numbers<uint8_t>::of(v), y = Numbers<uint8_t>::of(otherwise);
  return made<uint8_t>([&](int i) { return bits >> i & 1 ? x.at[i] : y.at[i]; });
}

}  // namespace emulated

#undef _mm512_setr_epi32
#define _mm512_setr_epi32 emulated::listed
#define _mm512_set1_epi16 emulated::all16
#define _mm512_set1_epi8 emulated::all8
#define _mm512_loadu_si512 emulated::load
#define _mm512_load_si512 emulated::load
#define _mm512_storeu_si512 emulated::store
#define _mm512_castsi128_si512 emulated::widened
#define _mm512_castsi512_si128 emulated::first_part
#define _mm512_inserti32x4 emulated::with_part
#define _mm512_extracti32x4_epi32 emulated::part
#define _mm512_broadcast_i32x4 emulated::four_times
#define _mm512_cvtepu8_epi32 emulated::extended<uint8_t, int32_t>
#define _mm512_cvtepu8_epi16 emulated::extended<uint8_t, int16_t>
#define _mm512_cvtepi8_epi16 emulated::extended<int8_t, int16_t>
#define _mm512_cvtps_epi32 emulated::rounded
#define _mm512_packs_epi32 emulated::to_16
#define _mm512_packus_epi16 emulated::to_8
#define _mm512_add_epi32 emulated::add_32
#define _mm512_adds_epi16 emulated::add_16
#define _mm512_max_epu8 emulated::larger_8
#define _mm512_srli_epi16 emulated::shifted_16
#define _mm512_max_ps emulated::larger
#define _mm512_min_ps emulated::smaller
#define _mm512_madd_epi16 emulated::pairs_of_16
#define _mm512_dpbusd_epi32 emulated::add_fours_of_8
#define _mm256_dpbusd_avx_epi32 emulated::add_fours_of_8
#define _mm512_permutexvar_epi32 emulated::moved<uint32_t>
#define _mm512_permutexvar_epi8 emulated::moved<uint8_t>
#define _mm512_permutex2var_epi8 emulated::moved_of_two
#define _mm512_shuffle_epi8 emulated::moved_within_parts
#define _mm512_movepi8_mask emulated::highest_bits
#define _mm512_mask_mov_epi8 emulated::chosen

#define asm(...)  // a register of 64 bytes that an empty asm would want

#if defined(EMULATED_AVXVNNI)
#define __AVXVNNI__ 1
#endif
#if defined(EMULATED_AVX512) || defined(EMULATED_VNNI) || defined(EMULATED_VBMI)
#define __AVX512F__ 1
#endif
#if defined(EMULATED_VNNI) || defined(EMULATED_VBMI)
#define __AVX512VNNI__ 1
#endif
#if defined(EMULATED_VBMI)
#define __AVX512VBMI__ 1
#endif
