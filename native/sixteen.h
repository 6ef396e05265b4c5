// Sixteen numbers at a time for the 8-bit kernels, in as many registers as they take: 1, 2 or 4.
//
// The compiler's vector type of 64 bytes would do only where registers are as wide: elsewhere it lives in memory, and g++
// compares and converts it number by number.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cstdint>
#include <cstring>

namespace hswish::HSWISH_LEVEL {

// HSWISH_X86(name): the instruction of that name for the widest registers here.
#if defined(__AVX512F__)
constexpr int REGISTER = 64;
typedef __m512i Ints;
typedef __m512 Floats;
#define HSWISH_X86(name) _mm512_##name
#elif defined(__AVX2__)
constexpr int REGISTER = 32;
typedef __m256i Ints;
typedef __m256 Floats;
#define HSWISH_X86(name) _mm256_##name
#elif defined(__SSE2__)
constexpr int REGISTER = 16;
typedef __m128i Ints;
typedef __m128 Floats;
#define HSWISH_X86(name) _mm_##name
#else
constexpr int REGISTER = 16;
#endif

constexpr int PARTS = 64 / REGISTER;

template <class T>
struct Sixteen {
  typedef T Part __attribute__((vector_size(REGISTER)));
  Part part[PARTS];
};

typedef Sixteen<float> f32x16;
typedef Sixteen<int32_t> i32x16;
typedef uint8_t u8x16 __attribute__((vector_size(16)));

// What has 64 bytes is moved register by register: g++ copies a structure by 16 bytes.
template <class V>
static inline V take(const void* p) {
  V v;
  if constexpr (__is_class(V) && sizeof(V) == 64) {
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) std::memcpy(&v.part[i], static_cast<const char*>(p) + i * REGISTER, REGISTER);
  } else {
    std::memcpy(&v, p, sizeof(V));
  }
  return v;
}

template <class V>
static inline void put(void* p, const V& v) {
  if constexpr (__is_class(V) && sizeof(V) == 64) {
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) std::memcpy(static_cast<char*>(p) + i * REGISTER, &v.part[i], REGISTER);
  } else {
    std::memcpy(p, &v, sizeof(V));
  }
}

template <class T>
static inline Sixteen<T> every(T x) {
  Sixteen<T> v;
#pragma GCC unroll 4
  for (int i = 0; i < PARTS; i++) v.part[i] = x - typename Sixteen<T>::Part{};
  return v;
}

// Number by number: a + b, a - b, a * b; b may be one number.
#define HSWISH_EACH(op)                                                                     \
  template <class T>                                                                        \
  static inline Sixteen<T> operator op(Sixteen<T> a, const Sixteen<T>& b) {                 \
    _Pragma("GCC unroll 4") for (int i = 0; i < PARTS; i++) a.part[i] = a.part[i] op b.part[i]; \
    return a;                                                                               \
  }                                                                                         \
  template <class T>                                                                        \
  static inline Sixteen<T> operator op(Sixteen<T> a, T b) {                                 \
    _Pragma("GCC unroll 4") for (int i = 0; i < PARTS; i++) a.part[i] = a.part[i] op b;     \
    return a;                                                                               \
  }
HSWISH_EACH(+)
HSWISH_EACH(-)
HSWISH_EACH(*)
#undef HSWISH_EACH

// Where one of two is no number, the other (ARM) or the second (x86, and `a > b ? a : b`).
static inline f32x16 max(f32x16 a, f32x16 b) {
#pragma GCC unroll 4
  for (int i = 0; i < PARTS; i++)
#if defined(__SSE2__)
    a.part[i] = (f32x16::Part)HSWISH_X86(max_ps)((Floats)a.part[i], (Floats)b.part[i]);
#elif defined(HSWISH_NEON)
    a.part[i] = vmaxnmq_f32(a.part[i], b.part[i]);
#else
    a.part[i] = a.part[i] > b.part[i] ? a.part[i] : b.part[i];
#endif
  return a;
}

static inline f32x16 min(f32x16 a, f32x16 b) {
#pragma GCC unroll 4
  for (int i = 0; i < PARTS; i++)
#if defined(__SSE2__)
    a.part[i] = (f32x16::Part)HSWISH_X86(min_ps)((Floats)a.part[i], (Floats)b.part[i]);
#elif defined(HSWISH_NEON)
    a.part[i] = vminnmq_f32(a.part[i], b.part[i]);
#else
    a.part[i] = a.part[i] < b.part[i] ? a.part[i] : b.part[i];
#endif
  return a;
}

static inline f32x16 to_floats(const i32x16& x) {
  f32x16 v;
#pragma GCC unroll 4
  for (int i = 0; i < PARTS; i++) v.part[i] = __builtin_convertvector(x.part[i], f32x16::Part);
  return v;
}

// 16 bytes as integers.
static inline i32x16 widened(const uint8_t* x) {
  i32x16 v;
#if defined(__AVX512F__)
  v.part[0] = (i32x16::Part)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)x));
#elif defined(__AVX2__)
  for (int i = 0; i < 2; i++)
    v.part[i] = (i32x16::Part)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(x + 8 * i)));
#elif defined(__SSE2__)
  const __m128i bytes = _mm_loadu_si128((const __m128i*)x), none = _mm_setzero_si128();
  const __m128i half[2] = {_mm_unpacklo_epi8(bytes, none), _mm_unpackhi_epi8(bytes, none)};
  for (int i = 0; i < 2; i++) {
    v.part[2 * i] = (i32x16::Part)_mm_unpacklo_epi16(half[i], none);
    v.part[2 * i + 1] = (i32x16::Part)_mm_unpackhi_epi16(half[i], none);
  }
#elif defined(HSWISH_NEON)
  const uint8x16_t bytes = vld1q_u8(x);
  const uint16x8_t half[2] = {vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes)};
  for (int i = 0; i < 2; i++) {
    v.part[2 * i] = (i32x16::Part)vmovl_u16(vget_low_u16(half[i]));
    v.part[2 * i + 1] = (i32x16::Part)vmovl_high_u16(half[i]);
  }
#else
  for (int i = 0; i < PARTS; i++)
    for (int j = 0; j < 4; j++) v.part[i][j] = x[4 * i + j];
#endif
  return v;
}

}  // namespace hswish::HSWISH_LEVEL
