// Python's view of the engine: build a plan step by step, plan it for a size, run it.
//
// Everything that comes from Python is checked here or in the steps' plan(); what does not fit raises
// ValueError.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "block_step.h"
#include "deep_step.h"
#include "levels.h"

namespace nb = nanobind;
using namespace nb::literals;

void bind_kernels(nb::module_ m);
void bind_int8(nb::class_<hswish::Plan>& plan, nb::module_ kernels);
void bind_masks(nb::module_ m, nb::module_ kernels);
void bind_training(nb::module_ m);

namespace hswish {

typedef nb::ndarray<const float, nb::c_contig, nb::device::cpu> Array;
typedef nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu> Pictures;
typedef nb::ndarray<nb::c_contig, nb::device::cpu> Answers;
typedef std::pair<Array, Array> Layer;  // weights and bias

Act act_of(const std::string& name) {
  if (name == "none") return Act::none;
  if (name == "relu") return Act::relu;
  if (name == "hard_swish") return Act::hard_swish;
  throw std::invalid_argument("no activation is called " + name);
}

static void check(const Layer& layer, size_t dims, const std::string& what) {
  const auto& [w, b] = layer;
  require(w.ndim() == dims && b.ndim() == 1 && w.size() > 0 && w.shape(0) == b.shape(0),
          what + ": weights and bias have no fitting shapes");
}

template <class T>
static PackedPointwiseOf<T> pack(const Layer& layer, const Plan& plan, const std::string& what) {
  check(layer, 2, what);
  const auto& [w, b] = layer;
  return {w.data(), b.data(), static_cast<long>(w.shape(0)), static_cast<long>(w.shape(1)), kernels_of<T>(plan).panel};
}

// Calls with a number of the type that the plan stores its maps in.
template <class Call>
static auto by_storage(const Plan& plan, const Call& call) {
  return plan.bf16 ? call(Bf16()) : call(float());
}

template <class T>
static StemStep<T> make_stem(Plan& plan, const Layer& layer, long stride, const std::string& act, bool same) {
  check(layer, 4, "stem");
  const auto& [w, b] = layer;
  require(w.shape(2) == 3 && w.shape(3) == 3, "the stem's kernel is 3x3");
  require(stride == 1 || stride == 2, "the stem's stride is 1 or 2");
  require(act != "none", "the stem has a non-linearity");
  StemStep<T> step(w.data(), b.data(), w.shape(0), w.shape(1), stride, act_of(act), same);
  plan.add_picture(w.shape(1));
  return step;
}

static int add_stem(Plan& plan, const Layer& layer, long stride, const std::string& act, bool same) {
  return by_storage(plan, [&](auto stored) {
    using T = decltype(stored);
    return plan.add(std::make_unique<StemStep<T>>(make_stem<T>(plan, layer, stride, act, same)));
  });
}

typedef std::tuple<Layer, Layer, std::string, bool> SqueezeLayers;    // reduce, expand, act, first
typedef std::tuple<Layer, long, std::string> StemLayers;  // weights, stride, act

static std::pair<int, int> add_block(Plan& plan, int input, std::optional<Layer> expand, const Layer& depthwise,
                                     std::optional<SqueezeLayers> se, const Layer& project, long stride, long dilation,
                                     const std::string& act, bool residual, bool same, bool keep,
                                     std::optional<StemLayers> stem) {
  check(depthwise, 3, "depthwise");
  const auto& [w, b] = depthwise;
  const long kernel = w.shape(1);
  require(w.shape(2) == w.shape(1) && (kernel == 3 || kernel == 5), "a depthwise kernel is 3x3 or 5x5");
  require((stride == 1 && (dilation == 1 || dilation == 2 || dilation == 4)) || (stride == 2 && dilation == 1),
          "a block has stride 1 and dilation 1, 2 or 4, or stride 2");
  require(act != "none", "a block has a non-linearity");
  PackedDepthwise packed(w.data(), b.data(), w.shape(0), kernel, stride, dilation, plan.kernels.panel);
  const int output = by_storage(plan, [&](auto stored) {
    using T = decltype(stored);
    auto step = std::make_unique<BlockStep<T>>();
    step->depthwise = packed;
    if (expand) step->expand = pack<T>(*expand, plan, "expand");
    step->project = pack<T>(project, plan, "project");
    if (se) {
      const auto& [squeeze, excite, se_act, first] = *se;
      step->se = SqueezeExcite<T>{pack<T>(squeeze, plan, "squeeze"), pack<T>(excite, plan, "excite"), act_of(se_act), first};
    }
    step->act = act_of(act), step->residual = residual, step->same = same;
    if (stem)
      step->stem = make_stem<T>(plan, std::get<0>(*stem), std::get<1>(*stem), std::get<2>(*stem), same);
    else
      step->inputs = {input};
    return plan.add(std::move(step), keep);
  });
  return {output, keep ? output - 1 : -1};
}

static int add_pointwise(Plan& plan, int input, const Layer& layer, const std::string& act, bool floats) {
  return by_storage(plan, [&](auto stored) {
    auto step = std::make_unique<PointwiseStep<decltype(stored)>>();
    step->packed = pack<decltype(stored)>(layer, plan, "pointwise");
    step->act = act_of(act), step->floats = floats;
    step->inputs = {input};
    return plan.add(std::move(step));
  });
}

static std::pair<int, int> add_deep(Plan& plan, int input, const Layer& wide, const std::string& wide_act, const Layer& narrow,
                                    const std::string& narrow_act) {
  const int output = by_storage(plan, [&](auto stored) {
    auto step = std::make_unique<DeepStep<decltype(stored)>>();
    step->wide = pack<decltype(stored)>(wide, plan, "wide"), step->narrow = pack<decltype(stored)>(narrow, plan, "narrow");
    step->wide_act = act_of(wide_act), step->narrow_act = act_of(narrow_act);
    step->inputs = {input};
    return plan.add(std::move(step), true);
  });
  return {output, output - 1};
}

static int add_mean(Plan& plan, int input, long window, long stride_down, long stride_across) {
  require(window >= 0 && stride_down >= 1 && stride_across >= 1, "a pooling window and its strides are 1 or more");
  return by_storage(plan, [&](auto stored) {
    auto step = std::make_unique<MeanStep<decltype(stored)>>();
    step->window = window, step->stride_down = stride_down, step->stride_across = stride_across;
    step->inputs = {input};
    return plan.add(std::move(step));
  });
}

static int add_gate(Plan& plan, int features, int gate, bool hard) {
  return by_storage(plan, [&](auto stored) {
    auto step = std::make_unique<GateStep<decltype(stored)>>();
    step->hard = hard;
    step->inputs = {features, gate};
    return plan.add(std::move(step));
  });
}

template <class T>
static int add_join_of(Plan& plan, int high, int low, bool align_corners, Act act) {
  auto step = std::make_unique<JoinStep<T>>();
  step->align_corners = align_corners, step->act = act;
  step->inputs = {high, low};
  return plan.add(std::move(step));
}

static int add_join(Plan& plan, int high, int low, bool align_corners, const std::string& act, bool floats) {
  require(act != "hard_swish", "branches join with relu or none");
  const auto add = plan.bf16 && !floats ? add_join_of<Bf16> : add_join_of<float>;
  return add(plan, high, low, align_corners, act_of(act));
}

static void add_answer(Plan& plan, int input, long used) {
  auto step = std::make_unique<AnswerStep>(used);
  step->inputs = {input};
  plan.add(std::move(step));
}

static void add_scores(Plan& plan, int input, long used, bool align_corners) {
  auto step = std::make_unique<ScoresStep>(used);
  step->align_corners = align_corners;
  step->inputs = {input};
  plan.add(std::move(step));
}

// Floats (N, C, H, W), or bytes (N, H, W, C) with a table (C, 256) of what they mean; and where the answers go.
struct Call {
  Picture pictures;
  long count;
  void* answer;
  bool mask;

  Call(const Plan& plan, const Pictures& x, const std::optional<Array>& table, const Answers& out) {
    require(plan.arena_floats() > 0, "the plan was not made for an input size");
    const bool bytes = table.has_value();
    require(x.ndim() == 4 && x.dtype() == (bytes ? nb::dtype<uint8_t>() : nb::dtype<float>()),
            "pictures are float32 (N, C, H, W), or uint8 (N, H, W, C) with a table");
    const size_t at = bytes ? 1 : 2;
    require(static_cast<long>(x.shape(at)) == plan.height && static_cast<long>(x.shape(at + 1)) == plan.width &&
                static_cast<long>(x.shape(bytes ? 3 : 1)) == plan.planes,
            "the pictures have not the channels or the size that the plan was made for");
    require(!bytes || (table->ndim() == 2 && static_cast<long>(table->shape(0)) == plan.planes && table->shape(1) == 256),
            "a table has 256 values for each channel");
    count = x.shape(0);
    mask = out.dtype() == nb::dtype<uint8_t>();
    require(mask || out.dtype() == nb::dtype<float>(), "answers are float32, or uint8 for masks");
    require(!mask || plan.can_mask(), "the plan makes no masks of one byte a pixel");
    require(static_cast<long>(out.size()) == count * plan.answers(mask), "the array for the answers has another size");
    if (bytes)
      pictures.bytes = static_cast<const uint8_t*>(x.data()), pictures.table = table->data();
    else
      pictures.floats = static_cast<const float*>(x.data());
    answer = out.data();
  }
};

static bool run(Plan& plan, Pictures x, Answers out, std::optional<Array> table) {
  const Call call(plan, x, table, out);
  nb::gil_scoped_release release;
  return plan.run(call.pictures, call.count, call.answer, call.mask);
}

static std::vector<std::pair<std::string, double>> profile(Plan& plan, Pictures x, Answers out,
                                                           std::optional<Array> table, int repeats) {
  const Call call(plan, x, table, out);
  require(call.count >= 1, "a profile needs a picture");
  std::vector<std::pair<std::string, double>> rows;
  const auto times = plan.profile_ms(call.pictures, call.answer, call.mask, repeats);
  for (size_t i = 0; i < times.size(); i++) rows.emplace_back(plan.steps()[i]->name(), times[i]);
  return rows;
}

static std::vector<std::pair<std::string, bool>> level_names() {
  std::vector<std::pair<std::string, bool>> names;
  for (const Level& level : levels()) names.emplace_back(level.name, level.runs_here);
  return names;
}

// Names of the lists of kernels for floats, bytes and halves that a level has; it may share them with others.
static std::vector<std::string> kernel_lists(const std::string& name) {
  const Level& found = level(name);
  return {found.kernels->name, found.int8->name, found.bf16 ? found.bf16->name : ""};
}

}  // namespace hswish

NB_MODULE(_engine, m) {
  using namespace hswish;
  nb::set_leak_warnings(false);  // at a Ctrl-C a thread that waits for a picture may still hold a plan
  nb::class_<Plan> plan(m, "Plan");
  plan.def("__init__", [](Plan* self, const std::string& name, int threads, bool halves) {
        require(threads >= 1 && threads <= 256, "1 to 256 threads");
        new (self) Plan(level(name), threads, halves);
      }, "level"_a, "threads"_a, "halves"_a = false)
      .def("stem", add_stem, "layer"_a, "stride"_a, "act"_a, "same"_a)
      .def("block", add_block, "input"_a, "expand"_a.none(), "depthwise"_a, "se"_a.none(), "project"_a, "stride"_a,
           "dilation"_a, "act"_a, "residual"_a, "same"_a, "keep"_a = false, "stem"_a = nb::none())
      .def("pointwise", add_pointwise, "input"_a, "layer"_a, "act"_a, "floats"_a = false)
      .def("deep", add_deep, "input"_a, "wide"_a, "wide_act"_a, "narrow"_a, "narrow_act"_a)
      .def("mean", add_mean, "input"_a, "window"_a = 0, "stride_down"_a = 1, "stride_across"_a = 1)
      .def("gate", add_gate, "features"_a, "gate"_a, "hard"_a)
      .def("join", add_join, "high"_a, "low"_a, "align_corners"_a, "act"_a, "floats"_a = true)
      .def("answer", add_answer, "input"_a, "used"_a)
      .def("scores", add_scores, "input"_a, "used"_a, "align_corners"_a)
      .def("at", [](const Plan& built, long height, long width) { return new Plan(built, height, width); },
           "height"_a, "width"_a, nb::rv_policy::take_ownership)
      .def("run", run, "pictures"_a.noconvert(), "out"_a.noconvert(), "table"_a = nb::none())
      .def("profile", profile, "pictures"_a.noconvert(), "out"_a.noconvert(), "table"_a = nb::none(), "repeats"_a = 20)
      .def_prop_ro("kinds", [](const Plan& plan) {
        std::vector<std::string> kinds;
        for (const auto& step : plan.steps()) kinds.push_back(step->name());
        return kinds;
      })
      .def_prop_ro("panel", [](const Plan& plan) { return plan.kernels.panel; })
      .def_prop_ro("arena_bytes", [](const Plan& plan) { return plan.arena_floats() * sizeof(float); });
  m.def("levels", level_names);
  m.def("kernel_lists", kernel_lists, "level"_a);
  m.def("multiplies_halves", [](const std::string& name) { return level(name).bf16 != nullptr; }, "level"_a);
  nb::module_ kernels = m.def_submodule("kernels", "each kernel by itself, for tests");
  bind_kernels(kernels);
  bind_int8(plan, kernels);
  bind_masks(m, kernels);
  bind_training(m);
}
