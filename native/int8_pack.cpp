#include "int8_pack.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace hswish {

// Refuses what the kernels could not compute exactly: sums beyond 32 bits, results beyond 2^30.
static void check(const LayerInt8& layer) {
  require(layer.zero >= 0 && layer.zero <= 255 && layer.low >= 0 && layer.low <= 255, "a zero point is a byte");
  require(std::isfinite(layer.inverse) && layer.inverse > 0, "a scale is a positive number");
  for (long n = 0; n < layer.n; n++) {
    long most = std::labs(layer.bias[n]);
    for (long i = 0; i < layer.taps; i++) most += 255L * std::abs(int{layer.weights[n * layer.taps + i]});
    require(most < (1L << 31), "the sums of an 8-bit layer do not fit 32 bits");
    const double scale = layer.scale[n];
    require(std::isfinite(scale) && scale >= 0, "a scale is a positive number");
    require(most * scale * layer.inverse < (1L << 29), "the scales of an 8-bit layer are too far apart");
  }
}

PackedInt8::PackedInt8(const LayerInt8& layer, int offset, long weight_bytes)
    : weights((weight_bytes + 3) / 4 + 16), bias(round_up(layer.n, LANE)), scale(round_up(layer.n, LANE)) {
  check(layer);
  int32_t* biases = reinterpret_cast<int32_t*>(bias.get());
  for (long n = 0; n < layer.n; n++) {
    long taken = 0;
    for (long i = 0; i < layer.taps; i++) taken += layer.weights[n * layer.taps + i];
    biases[n] = static_cast<int32_t>(layer.bias[n] + offset * taken);
  }
  std::copy_n(layer.scale, layer.n, scale.get());
  rescale.scale = scale.get();
  rescale.inverse = layer.inverse, rescale.zero = layer.zero, rescale.low = layer.low;
}

// Where weight i of four lies among those of 16 channels: [16][4], or as pairs of even and odd ones, [2][16][2].
static long within_quad(const Products& products, long channel, long i) {
  return products.pairs ? (i % 2 * LANE + channel) * 2 + i / 2 : channel * 4 + i;
}

PackedPointwiseInt8::PackedPointwiseInt8(const LayerInt8& layer, const Products& products)
    : PackedInt8(layer, products.offset, round_up(layer.n, LANE) * round_up(layer.taps, 4)), k(layer.taps) {
  const long quads = (k + 3) / 4;
  for (long n = 0; n < layer.n; n++)
    for (long i = 0; i < k; i++)
      packed()[(n / LANE * quads + i / 4) * 4 * LANE + within_quad(products, n % LANE, i % 4)] = layer.weights[n * k + i];
  op = {packed(), biases(), quads, round_up(layer.n, LANE), rescale};
}

PackedDepthwiseInt8::PackedDepthwiseInt8(const LayerInt8& layer, const Products& products, long kernel, long stride, long dilation)
    : PackedInt8(layer, products.offset, round_up(layer.n, LANE) * products.of_depthwise(kernel)) {
  const long quads = (kernel + 3) / 4, pairs = (kernel + 1) / 2;
  int16_t* const wide = reinterpret_cast<int16_t*>(packed());
  for (long n = 0; n < layer.n; n++)
    for (long y = 0; y < kernel; y++)
      for (long x = 0; x < kernel; x++) {
        const int8_t weight = layer.weights[(n * kernel + y) * kernel + x];
        if (products.pairs)
          wide[(((n / LANE * pairs + y / 2) * kernel + x) * LANE + n % LANE) * 2 + y % 2] = weight;
        else
          packed()[(((n / LANE * kernel + y) * quads + x / 4) * LANE + n % LANE) * 4 + x % 4] = weight;
      }
  op = {packed(), biases(), round_up(layer.n, LANE), kernel, stride, dilation, rescale};
}

PackedStemInt8::PackedStemInt8(const LayerInt8& layer, const Products& products, long planes, long stride)
    : PackedInt8(layer, products.offset, round_up(layer.n, LANE) * 3 * round_up(3 * planes, 4)) {
  const long quads = (3 * planes + 3) / 4;
  for (long n = 0; n < layer.n; n++)
    for (long c = 0; c < planes; c++)
      for (long y = 0; y < 3; y++)
        for (long x = 0; x < 3; x++) {
          const long tap = x * planes + c, group = (n / LANE * 3 + y) * quads + tap / 4;  // in a row of the picture
          packed()[group * 4 * LANE + within_quad(products, n % LANE, tap % 4)] =
              layer.weights[((n * planes + c) * 3 + y) * 3 + x];
        }
  op = {packed(), biases(), planes, quads, round_up(layer.n, LANE), stride, rescale};
}

}  // namespace hswish
