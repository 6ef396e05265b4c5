// Python's view of the 8-bit steps and kernels. Numbers that follow from scales are computed in Python
// (runtime/native/int8.py), beside the reference that the tests compare with.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include "int8_block_step.h"
#include "levels.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace hswish {

typedef nb::ndarray<const int8_t, nb::c_contig, nb::device::cpu> Weights;
typedef nb::ndarray<const int32_t, nb::c_contig, nb::device::cpu> Biases;
typedef nb::ndarray<const float, nb::c_contig, nb::device::cpu> In;
typedef nb::ndarray<float, nb::c_contig, nb::device::cpu> Out;
typedef nb::ndarray<const uint8_t, nb::c_contig, nb::device::cpu> BytesIn;
typedef nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu> BytesTo;
typedef nb::ndarray<int32_t, nb::c_contig, nb::device::cpu> Sums;
typedef std::tuple<Weights, Biases, In, float, int, int> Layer;  // weights, bias, scale, inverse, zero, low

Act act_of(const std::string& name);  // module.cpp

static LayerInt8 layer_of(const Layer& layer, size_t dims, const std::string& what) {
  const auto& [w, b, s, inverse, zero, low] = layer;
  require(w.ndim() == dims && b.ndim() == 1 && s.ndim() == 1 && w.size() > 0 && w.shape(0) == b.shape(0) &&
              w.shape(0) == s.shape(0), what + ": weights, bias and scales have no fitting shapes");
  const long n = static_cast<long>(w.shape(0));
  return {w.data(), b.data(), s.data(), n, static_cast<long>(w.size()) / n, inverse, zero, low};
}

static PackedPointwiseInt8 pack(const Layer& layer, const Int8Kernels& k, const std::string& what) {
  return {layer_of(layer, 2, what), k.products};
}

static PackedDepthwiseInt8 pack_depthwise(const Layer& layer, const Int8Kernels& k, long stride, long dilation) {
  const auto& w = std::get<0>(layer);
  const LayerInt8 made = layer_of(layer, 3, "depthwise");
  require(w.shape(1) == w.shape(2) && (w.shape(1) == 3 || w.shape(1) == 5), "a depthwise kernel is 3x3 or 5x5");
  require((stride == 1 && (dilation == 1 || dilation == 2 || dilation == 4)) || (stride == 2 && dilation == 1),
          "a block has stride 1 and dilation 1, 2 or 4, or stride 2");
  return {made, k.products, static_cast<long>(w.shape(1)), stride, dilation};
}

static PackedStemInt8 pack_stem(const Layer& layer, const Int8Kernels& k, long stride) {
  const auto& w = std::get<0>(layer);
  const LayerInt8 made = layer_of(layer, 4, "stem");
  require(w.shape(2) == 3 && w.shape(3) == 3, "the stem's kernel is 3x3");
  require(stride == 1 || stride == 2, "the stem's stride is 1 or 2");
  return {made, k.products, static_cast<long>(w.shape(1)), stride};
}

static float positive(float scale) {
  require(std::isfinite(scale) && scale > 0, "a scale is a positive number");
  return scale;
}

static int byte(int zero) {
  require(zero >= 0 && zero <= 255, "a zero point is a byte");
  return zero;
}

static int add_stem(Plan& plan, const Layer& layer, long stride, const std::string& act, bool same, float inverse, int zero) {
  auto step = std::make_unique<StemInt8Step>();
  step->weights = pack_stem(layer, plan.int8, stride);
  step->act = act_of(act), step->same = same, step->input_inverse = positive(inverse), step->input_zero = byte(zero);
  plan.add_picture(step->weights.op.planes);
  return plan.add(std::move(step));
}

typedef std::tuple<float, int, float, int> Mean;         // the map's scale and zero, the mean's inverse scale and zero
typedef std::tuple<float, int> Codes;                    // a gate's inverse scale (0: floats) and zero
typedef std::tuple<int, float, float, int> GateScales;   // see Gating
typedef std::pair<In, In> FloatLayer;                    // weights and bias
typedef std::variant<Layer, FloatLayer> EitherLayer;
typedef std::tuple<Mean, EitherLayer, EitherLayer, std::string, Codes, GateScales> Squeeze;

static MeanInt8 mean_of(const Mean& mean) {
  const auto& [scale, from, inverse, zero] = mean;
  return {positive(scale), byte(from), positive(inverse), byte(zero)};
}

static GateCodes codes_of(const Codes& codes) {
  const auto& [inverse, zero] = codes;
  require(std::isfinite(inverse) && inverse >= 0, "a scale is a positive number");
  return {inverse, byte(zero)};
}

static Gating gating_of(const GateScales& gating) {
  const auto& [from, scale, inverse, zero] = gating;
  require(255.0 * 255 * positive(scale) * positive(inverse) < (1L << 29), "the scales of a gate are too far apart");
  return {byte(from), scale, inverse, byte(zero)};
}

static PackedPointwise pack_floats(const FloatLayer& layer, const Plan& plan, const std::string& what) {
  const auto& [w, b] = layer;
  require(w.ndim() == 2 && b.ndim() == 1 && w.size() > 0 && w.shape(0) == b.shape(0), what + ": weights and bias have no fitting shapes");
  return {w.data(), b.data(), static_cast<long>(w.shape(0)), static_cast<long>(w.shape(1)), plan.kernels.panel};
}

static SqueezeExciteInt8 squeeze_of(const Squeeze& squeeze, const Plan& plan) {
  const auto& [mean, reduce, excite, act, codes, gating] = squeeze;
  SqueezeExciteInt8 made;
  made.mean = mean_of(mean), made.act = act_of(act), made.codes = codes_of(codes), made.gating = gating_of(gating);
  require(reduce.index() == excite.index(), "squeeze-and-excitation is on bytes or on floats");
  if (reduce.index() == 0) {
    made.reduce = pack(std::get<0>(reduce), plan.int8, "squeeze"), made.expand = pack(std::get<0>(excite), plan.int8, "excite");
  } else {
    made.float_reduce = pack_floats(std::get<1>(reduce), plan, "squeeze");
    made.float_expand = pack_floats(std::get<1>(excite), plan, "excite");
  }
  return made;
}

static std::pair<int, int> add_block(Plan& plan, int input, std::optional<Layer> expand, const Layer& depthwise,
                                     std::optional<Squeeze> se, const Layer& project, long stride, long dilation,
                                     const std::string& act, std::optional<std::pair<float, int>> residual, bool same,
                                     int padding, bool keep) {
  require(act != "none", "a block has a non-linearity");
  auto step = std::make_unique<BlockInt8Step>();
  step->act = act_of(act);
  if (expand) step->expand = pack(*expand, plan.int8, "expand");
  step->depthwise = pack_depthwise(depthwise, plan.int8, stride, dilation);
  step->project = pack(project, plan.int8, "project");
  if (se) step->se = squeeze_of(*se, plan);
  if (residual) {
    step->residual = true;
    step->project.op.rescale.residual_scale = positive(residual->first);
    require(255.0 * residual->first * step->project.op.rescale.inverse < (1L << 29), "the scales of a residual are too far apart");
    step->project.op.rescale.residual_zero = byte(residual->second);
  }
  step->same = same, step->padding = byte(padding);
  step->inputs = {input};
  const int output = plan.add(std::move(step), keep);
  return {output, keep ? output - 1 : -1};
}

static int add_pointwise(Plan& plan, int input, const Layer& layer, const std::string& act, bool floats) {
  auto step = std::make_unique<PointwiseInt8Step>();
  step->weights = pack(layer, plan.int8, "pointwise");
  step->act = act_of(act), step->floats = floats;
  step->inputs = {input};
  return plan.add(std::move(step));
}

static int add_mean(Plan& plan, int input, const Mean& mean, bool floats, long window, long stride_down,
                    long stride_across) {
  require(window >= 0 && stride_down >= 1 && stride_across >= 1, "a pooling window and its strides are 1 or more");
  auto step = std::make_unique<MeanInt8Step>();
  step->mean = mean_of(mean), step->floats = floats;
  step->window = window, step->stride_down = stride_down, step->stride_across = stride_across;
  step->inputs = {input};
  return plan.add(std::move(step));
}

static int add_gate(Plan& plan, int features, int gate, bool hard, const Codes& codes, const GateScales& gating) {
  auto step = std::make_unique<GateInt8Step>();
  step->hard = hard, step->codes = codes_of(codes), step->gating = gating_of(gating);
  step->inputs = {features, gate};
  return plan.add(std::move(step));
}

static int add_to_bytes(Plan& plan, int input, float inverse, int zero) {
  auto step = std::make_unique<ToBytesStep>();
  step->inverse = positive(inverse), step->zero = byte(zero);
  step->inputs = {input};
  return plan.add(std::move(step));
}

static int add_to_floats(Plan& plan, int input, float scale, int zero, long channels) {
  require(channels >= 1, "a map has channels");
  auto step = std::make_unique<ToFloatsStep>();
  step->scale = positive(scale), step->zero = byte(zero), step->channels = channels;
  step->inputs = {input};
  return plan.add(std::move(step));
}

// --- Each kernel by itself, for the tests; shapes are given by the arrays, which are checked ---

template <class Array>
static long size(const Array& array, size_t axis) {
  require(axis < array.ndim(), "an array has too few dimensions");
  return static_cast<long>(array.shape(axis));
}

static void pointwise_bytes(const std::string& name, BytesIn x, const Layer& layer, const std::string& act, BytesTo out,
                            std::optional<BytesIn> residual, float residual_scale, int residual_zero) {
  PackedPointwiseInt8 packed = pack(layer, *level(name).int8, "pointwise");
  packed.op.rescale.residual_scale = residual_scale, packed.op.rescale.residual_zero = residual_zero;
  const long pixels = size(x, 0), n = packed.op.n;
  require(size(x, 1) == round_up(packed.k, LANE) && size(out, 0) == pixels && size(out, 1) == n, "pointwise: shapes");
  require(!residual || residual->size() == out.size(), "pointwise: residual");
  for (long first = 0; first < n; first += INT8_PANEL)
    level(name).int8->pointwise_bytes(packed.op, act_of(act), first, x.data(), size(x, 1), out.data(), n,
                                      residual ? residual->data() : nullptr, n, pixels);
}

static void pointwise_floats(const std::string& name, BytesIn x, const Layer& layer, const std::string& act, Out out) {
  const PackedPointwiseInt8 packed = pack(layer, *level(name).int8, "pointwise");
  const long pixels = size(x, 0), n = packed.op.n;
  require(size(x, 1) == round_up(packed.k, LANE) && size(out, 0) == pixels && size(out, 1) == n, "pointwise: shapes");
  for (long first = 0; first < n; first += INT8_PANEL)
    level(name).int8->pointwise_floats(packed.op, act_of(act), first, x.data(), size(x, 1), out.data(), n, pixels);
}

// Expansion (or none) and depthwise of x (H, W, C); the rows are asked for in strips of `strip`.
static void block_rows(const std::string& name, BytesIn x, std::optional<Layer> expand, const Layer& depthwise,
                       const std::string& act, long stride, long dilation, bool same, int padding, long strip,
                       BytesTo out, Sums sums) {
  const Int8Kernels& k = *level(name).int8;
  PackedPointwiseInt8 first;
  if (expand) first = pack(*expand, k, "expand");
  const PackedDepthwiseInt8 second = pack_depthwise(depthwise, k, stride, dilation);
  const long channels = second.op.channels;
  require(size(x, 2) == (expand ? round_up(first.k, LANE) : channels) && (!expand || first.op.n == channels) && strip >= 1,
          "block: expansion");
  const Geometry g = geometry({size(x, 0), size(x, 1), 0}, second.op.kernel, stride, dilation, same);
  require(size(out, 0) == g.out_height && size(out, 1) == g.out_width && size(out, 2) == channels &&
              size(sums, 0) == channels, "block: out");
  Buffer work(k.int8_block_work(second.op, g) / 4 + 16);
  for (long panel = 0; panel < channels; panel += INT8_PANEL) {
    long made = -1;
    for (long y = 0; y < g.out_height; y += strip)
      k.int8_block_rows({first.op, second.op, act_of(act), act_of(act), g, panel, x.data(), size(x, 2),
                         out.data() + y * g.out_width * channels, channels, sums.data(),
                         reinterpret_cast<uint8_t*>(work.get()), static_cast<uint8_t>(byte(padding)), y,
                         std::min(y + strip, g.out_height)}, made);
  }
}

// Rows (3, columns * stride * planes and some to spare) of a picture.
static void stem_row(const std::string& name, BytesIn rows, const Layer& layer, const std::string& act, long stride, BytesTo out) {
  const PackedStemInt8 packed = pack_stem(layer, *level(name).int8, stride);
  const long columns = size(out, 0);
  require(size(rows, 0) == 3 && size(rows, 1) >= ((columns - 1) * stride + 3) * packed.op.planes + 16 &&
              size(out, 1) == packed.op.n, "stem: shapes");
  const uint8_t* each[3] = {rows.data(), rows.data() + size(rows, 1), rows.data() + 2 * size(rows, 1)};
  level(name).int8->int8_stem_row(packed.op, act_of(act), each, columns, out.data());
}

static void gate_bytes(const std::string& name, BytesIn x, In gate, const GateScales& gating, BytesTo out) {
  require(size(x, 1) % LANE == 0 && size(gate, 0) == size(x, 1) && out.size() == x.size(), "gate: shapes");
  level(name).int8->gate_bytes(x.data(), gate.data(), gating_of(gating), size(x, 1), size(x, 0), out.data());
}

static void sum_bytes(const std::string& name, BytesIn x, Sums sums) {
  require(size(x, 1) % LANE == 0 && size(sums, 0) == size(x, 1), "sum: shapes");
  level(name).int8->sum_bytes(x.data(), size(x, 1), size(x, 0), sums.data());
}

static void to_bytes(const std::string& name, In x, float inverse, int zero, BytesTo out) {
  require(x.size() % LANE == 0 && out.size() == x.size(), "to_bytes: shapes");
  level(name).int8->to_bytes(x.data(), inverse, byte(zero), static_cast<long>(x.size()), out.data());
}

static void look_up(const std::string& name, BytesIn x, BytesIn table, BytesTo out) {
  require(size(table, 0) == size(x, 1) && size(table, 1) == 256 && out.size() == x.size(), "look_up: shapes");
  level(name).int8->look_up(x.data(), table.data(), size(x, 1), size(x, 0), out.data());
}

}  // namespace hswish

void bind_int8(nb::class_<hswish::Plan>& plan, nb::module_ kernels) {
  using namespace hswish;
  plan.def("stem_int8", add_stem, "layer"_a, "stride"_a, "act"_a, "same"_a, "inverse"_a, "zero"_a)
      .def("block_int8", add_block, "input"_a, "expand"_a.none(), "depthwise"_a, "se"_a.none(), "project"_a, "stride"_a,
           "dilation"_a, "act"_a, "residual"_a.none(), "same"_a, "padding"_a, "keep"_a = false)
      .def("pointwise_int8", add_pointwise, "input"_a, "layer"_a, "act"_a, "floats"_a = false)
      .def("mean_int8", add_mean, "input"_a, "mean"_a, "floats"_a = false, "window"_a = 0, "stride_down"_a = 1, "stride_across"_a = 1)
      .def("gate_int8", add_gate, "features"_a, "gate"_a, "hard"_a, "codes"_a, "gating"_a)
      .def("to_bytes", add_to_bytes, "input"_a, "inverse"_a, "zero"_a)
      .def("to_floats", add_to_floats, "input"_a, "scale"_a, "zero"_a, "channels"_a);
  kernels.def("pointwise_bytes", pointwise_bytes, "level"_a, "x"_a, "layer"_a, "act"_a, "out"_a.noconvert(),
              "residual"_a = nb::none(), "residual_scale"_a = 1.0f, "residual_zero"_a = 0);
  kernels.def("pointwise_floats", pointwise_floats, "level"_a, "x"_a, "layer"_a, "act"_a, "out"_a.noconvert());
  kernels.def("int8_block_rows", block_rows, "level"_a, "x"_a, "expand"_a.none(), "depthwise"_a, "act"_a, "stride"_a,
              "dilation"_a, "same"_a, "padding"_a, "strip"_a, "out"_a.noconvert(), "sums"_a.noconvert());
  kernels.def("int8_stem_row", stem_row, "level"_a, "rows"_a, "layer"_a, "act"_a, "stride"_a, "out"_a.noconvert());
  kernels.def("gate_bytes", gate_bytes, "level"_a, "x"_a, "gate"_a, "gating"_a, "out"_a.noconvert());
  kernels.def("sum_bytes", sum_bytes, "level"_a, "x"_a, "sums"_a.noconvert());
  kernels.def("look_up", look_up, "level"_a, "x"_a, "table"_a, "out"_a.noconvert());
  kernels.def("to_bytes", to_bytes, "level"_a, "x"_a, "inverse"_a, "zero"_a, "out"_a.noconvert());
}
