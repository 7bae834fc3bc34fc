// Node Feedback of TensorRT: feedback.h behind IPluginV3.
#include "feedback.h"
#include "plugin.h"

namespace refit_plugin
{
namespace
{

int64_t up8(int64_t number)
{
    return (number + 7) / 8 * 8;
}

struct Feedback
{
    static constexpr char const* NAME = "Feedback";
    static constexpr int OUTPUTS = 1, FIELDS = 2;

    struct Settings
    {
        float crop_px = 256;
        int32_t radius = 3;
    };

    static std::array<PluginField, FIELDS> fields(Settings& settings)
    {
        return {PluginField("crop_px", &settings.crop_px, PluginFieldType::kFLOAT32, 1),
            PluginField("radius", &settings.radius, PluginFieldType::kINT32, 1)};
    }

    static char const* types(int inputs)
    {
        if (inputs == refit::FEEDBACK_INPUTS)
            return "TfffffififTTTTT";
        return inputs == refit::FEEDBACK_INPUTS_WITH_KEYPOINTS ? "TfffffififTTTTfTTTTT" : nullptr;
    }

    static refit::FeedbackSizes sizes(Settings const& settings, PluginTensorDesc const* in, int count)
    {
        auto at = [&](int tensor, int axis) { return static_cast<int>(size_at(in[tensor], axis)); };
        int const hidden = count == refit::FEEDBACK_INPUTS ? 0 : at(16, 0);
        return {at(0, 0), at(0, 1), at(0, 2), at(0, 3), at(13, 0), at(11, 1), settings.radius, at(8, 0), hidden,
            settings.crop_px};
    }

    static std::vector<Shape> shapes(Settings const& settings, PluginTensorDesc const* in, int count)
    {
        refit::FeedbackSizes const s = sizes(settings, in, count);
        int64_t const persons = s.persons, markers = s.markers, cells = 2 * s.radius + 1;
        std::vector<Shape> wanted{
            {"maps", {persons, markers, s.height, s.height}},
            {"pose6d", {persons, 144}},
            {"betas", {persons, 10}},
            {"cam", {persons, 3}},
            {"view", {persons, 6}},
            {"joint_blend", {11, 72}},
            {"parents", {24}},
            {"blend", {11 + s.pose_rows, (3 * markers + 3) / 4 * 4}},
            {"pose_columns", {s.pose_rows}},
            {"skinning", {markers, 24}},
            {"flow_weight", {markers, s.flow, up8(cells * cells)}},
            {"flow_bias", {markers, s.flow}},
            {"local_weight", {s.local, up8(markers * s.flow)}},
            {"local_bias", {s.local}},
        };
        if (count == refit::FEEDBACK_INPUTS)
            return wanted;
        int64_t const seen = 4 * 33 + 2 * 24 + 2 * markers + 2 * 17; // landmarks, joints, markers, residuals
        wanted.push_back({"keypoints", {persons, 33, 4}});
        wanted.push_back({"first_weight", {s.hidden, up8(seen)}});
        wanted.push_back({"first_bias", {s.hidden}});
        wanted.push_back({"last_weight", {s.local, s.hidden}});
        wanted.push_back({"last_bias", {s.local}});
        return wanted;
    }

    static void output_shapes(DimsExprs const* inputs, DimsExprs* outputs, IExprBuilder&)
    {
        outputs[0].nbDims = 2;
        outputs[0].d[0] = inputs[0].d[0];  // persons
        outputs[0].d[1] = inputs[13].d[0]; // local
    }

    static int launch(Settings const& settings, PluginTensorDesc const* tensors, int count, void const* const* inputs,
        void* const* outputs, cudaStream_t stream)
    {
        bool const half = tensors[0].type == DataType::kHALF;
        refit::FeedbackSizes const s = sizes(settings, tensors, count);
        int const numbers[] = {s.persons, s.markers, s.height, s.width, s.local, s.flow, s.radius, s.pose_rows, s.hidden};
        return refit_feedback(half, inputs, outputs[0], numbers, s.crop_px, stream);
    }
};

} // namespace

IPluginCreatorInterface* feedback_creator()
{
    static Creator<Feedback> creator;
    return &creator;
}

} // namespace refit_plugin
