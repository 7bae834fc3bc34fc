// A launch function as a TensorRT plugin: what both nodes have in common.
//
// No symbol of TensorRT's library is needed: the library is found by TensorRT through getCreators, and reports through
// the logger it is given. A Node says what its tensors are:
//   NAME, OUTPUTS; Settings (its attributes) and fields(Settings&); types(inputs) one letter a tensor, outputs last:
//   'T' float or half as tensor 0, 'f' float, 'i' int32; shapes(settings, inputs, count) what each input must be;
//   output_shapes(inputs, outputs, builder); launch(settings, descriptions, count of inputs, inputs, outputs, stream) → cudaError_t
#pragma once

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstring>
#include <initializer_list>
#include <new>
#include <string>
#include <vector>

namespace refit_plugin
{

using namespace nvinfer1;

constexpr char const* VERSION = "1";
constexpr char const* NAMESPACE = "refit";

// Told through TensorRT's logger, where there is one.
void tell_error(std::string const& text);

IPluginCreatorInterface* batched_gru_creator();
IPluginCreatorInterface* feedback_creator();

struct Shape
{
    char const* name;
    std::vector<int64_t> sizes;
};

inline std::string text_of(std::vector<int64_t> const& sizes)
{
    std::string text = "(";
    for (size_t i = 0; i < sizes.size(); ++i)
        text += (i ? ", " : "") + std::to_string(sizes[i]);
    return text + ")";
}

inline std::vector<int64_t> sizes_of(Dims const& dims)
{
    return std::vector<int64_t>(dims.d, dims.d + (dims.nbDims > 0 ? dims.nbDims : 0));
}

// The n-th size, 0 where there is none: a wrong rank is then told as a wrong shape.
inline int64_t size_at(PluginTensorDesc const& tensor, int n)
{
    return n < tensor.dims.nbDims ? tensor.dims.d[n] : 0;
}

inline bool shapes_are(char const* node, std::vector<Shape> const& wanted, PluginTensorDesc const* inputs)
{
    for (size_t i = 0; i < wanted.size(); ++i)
    {
        auto const found = sizes_of(inputs[i].dims);
        if (found == wanted[i].sizes)
            continue;
        tell_error(std::string(node) + ": input " + std::to_string(i) + " (" + wanted[i].name + ") is " + text_of(found)
            + ", " + text_of(wanted[i].sizes) + " is needed. Export the ONNX file again");
        return false;
    }
    return true;
}

inline bool type_is(char letter, DataType type, DataType first)
{
    switch (letter)
    {
    case 'f': return type == DataType::kFLOAT;
    case 'i': return type == DataType::kINT32;
    default: return type == first && (type == DataType::kFLOAT || type == DataType::kHALF);
    }
}

template <class Node>
class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime
{
public:
    explicit Plugin(typename Node::Settings const& settings, int32_t inputs = 0)
        : settings_(settings), inputs_(inputs), fields_(Node::fields(settings_)),
          collection_{static_cast<int32_t>(fields_.size()), fields_.data()}
    {
    }
    Plugin(Plugin const&) = delete;
    Plugin& operator=(Plugin const&) = delete;

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override
    {
        switch (type)
        {
        case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override { return new (std::nothrow) Plugin(settings_, inputs_); }

    char const* getPluginName() const noexcept override { return Node::NAME; }
    char const* getPluginVersion() const noexcept override { return VERSION; }
    char const* getPluginNamespace() const noexcept override { return NAMESPACE; }

    int32_t getNbOutputs() const noexcept override { return Node::OUTPUTS; }

    int32_t getOutputDataTypes(
        DataType* outputs, int32_t count, DataType const* inputs, int32_t input_count) const noexcept override
    {
        char const* const types = Node::types(input_count);
        if (types == nullptr || count != Node::OUTPUTS)
            return -1;
        for (int32_t i = 0; i < count; ++i)
            outputs[i] = types[input_count + i] == 'T' ? inputs[0] : DataType::kFLOAT;
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t input_count, DimsExprs const*, int32_t, DimsExprs* outputs,
        int32_t, IExprBuilder& builder) noexcept override
    {
        if (Node::types(input_count) == nullptr)
        {
            tell_error(std::string(Node::NAME) + ": has no form with " + std::to_string(input_count)
                + " inputs. Export the ONNX file again");
            return -1;
        }
        Node::output_shapes(inputs, outputs, builder);
        return 0;
    }

    bool supportsFormatCombination(
        int32_t position, DynamicPluginTensorDesc const* tensors, int32_t inputs, int32_t) noexcept override
    {
        char const* const types = Node::types(inputs);
        return types != nullptr && tensors[position].desc.format == TensorFormat::kLINEAR
            && type_is(types[position], tensors[position].desc.type, tensors[0].desc.type);
    }

    int32_t configurePlugin(
        DynamicPluginTensorDesc const*, int32_t, DynamicPluginTensorDesc const*, int32_t) noexcept override
    {
        return 0;
    }

    // The kernels read unchecked: here is where everything is checked.
    int32_t onShapeChange(
        PluginTensorDesc const* inputs, int32_t count, PluginTensorDesc const*, int32_t) noexcept override
    {
        inputs_ = count;
        return Node::types(count) != nullptr
                && shapes_are(Node::NAME, Node::shapes(settings_, inputs, count), inputs)
            ? 0
            : -1;
    }

    int32_t enqueue(PluginTensorDesc const* tensors, PluginTensorDesc const*, void const* const* inputs,
        void* const* outputs, void*, cudaStream_t stream) noexcept override
    {
        int const code = inputs_ == 0 ? -1 : Node::launch(settings_, tensors, inputs_, inputs, outputs, stream);
        if (code != 0)
            tell_error(std::string(Node::NAME) + ": CUDA error " + std::to_string(code)
                + " at launch; 209: the plugin library was not built for this GPU");
        return code == 0 ? 0 : -1;
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

    PluginFieldCollection const* getFieldsToSerialize() noexcept override { return &collection_; }

private:
    typename Node::Settings settings_;
    int32_t inputs_; // enqueue is not told how many there are; onShapeChange, which comes before, is
    std::array<PluginField, Node::FIELDS> fields_;
    PluginFieldCollection collection_;
};

template <class Node>
class Creator final : public IPluginCreatorV3One
{
public:
    Creator() : fields_(Node::fields(defaults_)), collection_{static_cast<int32_t>(fields_.size()), fields_.data()} {}

    // Fields that are not given keep their defaults; nullptr for one that is given but makes no sense.
    IPluginV3* createPlugin(char const*, PluginFieldCollection const* given, TensorRTPhase) noexcept override
    {
        typename Node::Settings settings;
        auto const own = Node::fields(settings);
        for (int32_t i = 0; given != nullptr && i < given->nbFields; ++i)
            for (PluginField const& field : own)
                if (std::strcmp(given->fields[i].name, field.name) == 0 && !take(given->fields[i], field))
                    return nullptr;
        return new (std::nothrow) Plugin<Node>(settings);
    }

    PluginFieldCollection const* getFieldNames() noexcept override { return &collection_; }
    char const* getPluginName() const noexcept override { return Node::NAME; }
    char const* getPluginVersion() const noexcept override { return VERSION; }
    char const* getPluginNamespace() const noexcept override { return NAMESPACE; }

private:
    static bool take(PluginField const& given, PluginField const& into)
    {
        if (given.data == nullptr || given.type != into.type || given.length != 1)
        {
            tell_error(std::string(Node::NAME) + ": attribute '" + into.name + "' must be one "
                + (into.type == PluginFieldType::kINT32 ? "int32" : "float32"));
            return false;
        }
        std::memcpy(const_cast<void*>(into.data), given.data, 4);
        return true;
    }

    typename Node::Settings defaults_;
    std::array<PluginField, Node::FIELDS> fields_;
    PluginFieldCollection collection_;
};

} // namespace refit_plugin
