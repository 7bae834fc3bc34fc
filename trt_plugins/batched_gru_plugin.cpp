// Node BatchedGRU of TensorRT: batched_gru.h behind IPluginV3.
#include "batched_gru.h"
#include "plugin.h"

namespace refit_plugin
{
namespace
{

constexpr int64_t HEADS = 26, HIDDEN = 32, GATES = 96, REST = 160; // REST: what of x is not local

struct BatchedGru
{
    static constexpr char const* NAME = "BatchedGRU";
    static constexpr int OUTPUTS = refit::GRU_OUTPUTS, FIELDS = 1;

    struct Settings
    {
        float scale_floor = -1;
    };

    static std::array<PluginField, FIELDS> fields(Settings& settings)
    {
        return {PluginField("scale_floor", &settings.scale_floor, PluginFieldType::kFLOAT32, 1)};
    }

    static char const* types(int inputs)
    {
        return inputs == refit::GRU_INPUTS ? "TTffffTTTTTTTTTTTTfff" : nullptr;
    }

    static std::vector<Shape> shapes(Settings const&, PluginTensorDesc const* inputs, int)
    {
        int64_t const persons = size_at(inputs[0], 0), local = size_at(inputs[1], 1);
        return {
            {"hidden", {persons, HEADS, HIDDEN}},
            {"local", {persons, local}},
            {"box", {persons, 3}},
            {"pose6d", {persons, 144}},
            {"betas", {persons, 10}},
            {"cam", {persons, 3}},
            {"w_input", {HEADS * GATES, local + REST}},
            {"b_input", {HEADS * GATES}},
            {"w_hidden", {HEADS, GATES, HIDDEN}},
            {"w_layer", {HEADS, HIDDEN, HIDDEN + 3}},
            {"b_layer", {HEADS, HIDDEN}},
            {"w_pose", {24, 6, HIDDEN}},
            {"b_pose", {24, 6}},
            {"w_betas", {10, HIDDEN}},
            {"b_betas", {10}},
            {"w_cam", {3, HIDDEN}},
            {"b_cam", {3}},
        };
    }

    // hidden', pose6d', betas', cam': each as what it was made of.
    static void output_shapes(DimsExprs const* inputs, DimsExprs* outputs, IExprBuilder&)
    {
        outputs[0] = inputs[0];
        for (int i = 1; i < OUTPUTS; ++i)
            outputs[i] = inputs[2 + i];
    }

    static int launch(Settings const& settings, PluginTensorDesc const* tensors, int, void const* const* inputs,
        void* const* outputs, cudaStream_t stream)
    {
        bool const half = tensors[0].type == DataType::kHALF;
        int const persons = static_cast<int>(tensors[0].dims.d[0]), local = static_cast<int>(tensors[1].dims.d[1]);
        return refit_batched_gru(half, inputs, outputs, persons, local, settings.scale_floor, stream);
    }
};

} // namespace

IPluginCreatorInterface* batched_gru_creator()
{
    static Creator<BatchedGru> creator;
    return &creator;
}

} // namespace refit_plugin
