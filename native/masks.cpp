// Compiled once for each instruction set, without contraction of products and sums: the results are defined to the bit.
#include "masks.h"

#include "vec.h"

namespace hswish {
namespace HSWISH_LEVEL {

constexpr long L = LANES<Vec>;
typedef int32_t Places __attribute__((vector_size(sizeof(Vec))));
typedef uint8_t Classes __attribute__((vector_size(sizeof(Vec) / 4)));

static float between(float a, float b, float weight) { return a * (1 - weight) + b * weight; }

static void widen(const Axis& across, const float* line, long width, float* out) {
  long i = 0;
  if constexpr (L > 4)  // narrow vectors are slow to permute
    if (width >= L)
      for (; i + L <= across.count; i += L) {
        // Cells that one load holds, within the line at its end too.
        const long base = across.first[i] + L <= width ? across.first[i] : width - L;
        if (across.second[i + L - 1] - base >= L) break;  // a picture scaled down
        Places first, second;
        std::memcpy(&first, across.first + i, sizeof first);
        std::memcpy(&second, across.second + i, sizeof second);
        const Vec cells = load<Vec>(line + base), weight = load<Vec>(across.weight + i);
        const Vec a = permuted(cells, first - static_cast<int32_t>(base));
        const Vec b = permuted(cells, second - static_cast<int32_t>(base));
        store(out + i, a * (1.0f - weight) + b * weight);
      }
  for (; i < across.count; i++) out[i] = between(line[across.first[i]], line[across.second[i]], across.weight[i]);
}

static void highest(const float* top, const float* bottom, float weight, long classes, long stride, long width,
                    uint8_t* out) {
  long i = 0;
  for (; i + L <= width; i += L) {
    Vec best{};
    Places chosen{};
    for (long c = 0; c < classes; c++) {
      const Vec score = load<Vec>(top + c * stride + i) * (1 - weight) + load<Vec>(bottom + c * stride + i) * weight;
      const Places higher = c == 0 ? ~Places{} : score > best;
      best = higher ? score : best;
      chosen = higher ? Places{} + static_cast<int32_t>(c) : chosen;
    }
    const Classes bytes = __builtin_convertvector(chosen, Classes);
    std::memcpy(out + i, &bytes, sizeof bytes);
  }
  for (; i < width; i++) {
    float best = between(top[i], bottom[i], weight);
    out[i] = 0;
    for (long c = 1; c < classes; c++) {
      const float score = between(top[c * stride + i], bottom[c * stride + i], weight);
      if (score > best) best = score, out[i] = static_cast<uint8_t>(c);
    }
  }
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

const MaskKernels mask_table = {TEXT(HSWISH_LEVEL), widen, highest};

}  // namespace HSWISH_LEVEL
}  // namespace hswish
