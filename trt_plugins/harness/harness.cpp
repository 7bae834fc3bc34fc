// Takes the plugin library through what TensorRT does with it, without TensorRT: harness librefit_plugins.so
//
// Creators, shapes, formats, serialisation, clones and refusals on any machine; on one with a GPU also enqueue inside a
// graph capture, which must give the bits that the kernel gives when launched by itself.
#include "expressions.h"
#include "nodes.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

using namespace nvinfer1;

#define MUST(what)                                                                                                     \
    do                                                                                                                 \
    {                                                                                                                  \
        if (!(what))                                                                                                   \
        {                                                                                                              \
            std::printf("FAILED %s:%d: %s\n", __FILE__, __LINE__, #what);                                              \
            std::exit(1);                                                                                              \
        }                                                                                                              \
    } while (false)

struct Log final : ILogger
{
    std::string said;
    void log(Severity, AsciiChar const* text) noexcept override { said = text; }
};

struct Finder final : ILoggerFinder
{
    Log logger;
    ILogger* findLogger() override { return &logger; }
};

Finder finder;

using GruLaunch = int (*)(int, void const* const*, void* const*, int, int, float, void*);
using FeedbackLaunch = int (*)(int, void const* const*, void*, int const*, float, void*);

Dims dims_of(std::vector<int64_t> const& sizes)
{
    Dims dims{};
    dims.nbDims = static_cast<int32_t>(sizes.size());
    std::copy(sizes.begin(), sizes.end(), dims.d);
    return dims;
}

DataType type_of(char letter, DataType t)
{
    return letter == 'T' ? t : letter == 'f' ? DataType::kFLOAT : DataType::kINT32;
}

std::vector<PluginTensorDesc> described(std::vector<Tensor> const& tensors, DataType t)
{
    std::vector<PluginTensorDesc> all;
    for (Tensor const& tensor : tensors)
        all.push_back({dims_of(tensor.sizes), type_of(tensor.type, t), TensorFormat::kLINEAR, 1.f});
    return all;
}

template <class Face>
Face* face(IPluginV3* plugin, PluginCapabilityType type)
{
    auto* const found = static_cast<Face*>(plugin->getCapabilityInterface(type));
    MUST(found != nullptr);
    return found;
}

void check_build(IPluginV3* plugin, Node const& node)
{
    auto* const build = face<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
    int32_t const inputs = node.inputs.size(), outputs = node.outputs.size();
    MUST(build->getNbOutputs() == outputs);
    std::deque<KnownSize> sizes;
    std::vector<DimsExprs> given(inputs), made(outputs);
    for (int32_t i = 0; i < inputs; ++i)
    {
        given[i].nbDims = node.inputs[i].sizes.size();
        for (int32_t j = 0; j < given[i].nbDims; ++j)
            given[i].d[j] = &sizes.emplace_back(node.inputs[i].sizes[j]);
    }
    KnownSizes builder;
    MUST(build->getOutputShapes(given.data(), inputs, nullptr, 0, made.data(), outputs, builder) == 0);
    MUST(build->getOutputShapes(given.data(), inputs - 1, nullptr, 0, made.data(), outputs, builder) != 0);
    for (int32_t i = 0; i < outputs; ++i)
    {
        MUST(made[i].nbDims == static_cast<int32_t>(node.outputs[i].sizes.size()));
        for (int32_t j = 0; j < made[i].nbDims; ++j)
            MUST(made[i].d[j]->getConstantValue() == node.outputs[i].sizes[j]);
    }
    for (DataType t : {DataType::kFLOAT, DataType::kHALF})
    {
        std::vector<DataType> types, out(outputs);
        for (Tensor const& tensor : node.inputs)
            types.push_back(type_of(tensor.type, t));
        MUST(build->getOutputDataTypes(out.data(), outputs, types.data(), inputs) == 0);
        for (int32_t i = 0; i < outputs; ++i)
            MUST(out[i] == type_of(node.outputs[i].type, t));
    }
}

bool takes(IPluginV3OneBuild* build, std::vector<DynamicPluginTensorDesc> const& tensors, Node const& node)
{
    for (size_t i = 0; i < tensors.size(); ++i)
        if (!build->supportsFormatCombination(i, tensors.data(), node.inputs.size(), node.outputs.size()))
            return false;
    return true;
}

void check_formats(IPluginV3* plugin, Node const& node)
{
    auto* const build = face<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
    for (DataType t : {DataType::kFLOAT, DataType::kHALF, DataType::kINT8, DataType::kBF16})
    {
        std::vector<DynamicPluginTensorDesc> tensors;
        for (auto const* some : {&node.inputs, &node.outputs})
            for (PluginTensorDesc const& tensor : described(*some, t))
            {
                tensors.emplace_back();
                tensors.back().desc = tensor;
            }
        bool const good = t == DataType::kFLOAT || t == DataType::kHALF;
        MUST(takes(build, tensors, node) == good);
        for (size_t i = 0; i < tensors.size() && good; ++i)
        {
            auto other = tensors;
            other[i].desc.format = TensorFormat::kCHW32;
            MUST(!takes(build, other, node));
            other = tensors;
            other[i].desc.type = DataType::kINT8;
            MUST(!takes(build, other, node));
        }
    }
}

void check_refusals(IPluginV3* plugin, Node const& node)
{
    auto* const runtime = face<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
    auto inputs = described(node.inputs, DataType::kHALF), outputs = described(node.outputs, DataType::kHALF);
    auto change = [&](std::vector<PluginTensorDesc> const& in) {
        return runtime->onShapeChange(in.data(), in.size(), outputs.data(), outputs.size());
    };
    MUST(change(inputs) == 0);
    for (size_t i = 0; i < inputs.size(); ++i)
    {
        auto wrong = inputs;
        wrong[i].dims.d[wrong[i].dims.nbDims - 1] += 1;
        finder.logger.said.clear();
        MUST(change(wrong) != 0);
        MUST(finder.logger.said.find(node.name + ": input ") == 0);
    }
    inputs.pop_back();
    MUST(change(inputs) != 0);
}

IPluginV3* made(IPluginCreatorV3One* creator, PluginFieldCollection const* fields, TensorRTPhase phase)
{
    IPluginV3* const plugin = creator->createPlugin("a node", fields, phase);
    MUST(plugin != nullptr);
    return plugin;
}

// Serialised and made again; the fields must have come along.
IPluginV3* second_life(IPluginV3* plugin, IPluginCreatorV3One* creator, Node const& node)
{
    auto* const fields = face<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME)->getFieldsToSerialize();
    IPluginV3* const again = made(creator, fields, TensorRTPhase::kRUNTIME);
    auto* const kept = face<IPluginV3OneRuntime>(again, PluginCapabilityType::kRUNTIME)->getFieldsToSerialize();
    MUST(kept->nbFields == static_cast<int32_t>(node.fields.size()));
    for (int32_t i = 0; i < kept->nbFields; ++i)
    {
        MUST(std::strcmp(kept->fields[i].name, node.fields[i].name) == 0);
        MUST(std::memcmp(kept->fields[i].data, node.fields[i].data, 4) == 0);
    }
    return again;
}

size_t count_of(Tensor const& tensor)
{
    size_t count = 1;
    for (int64_t size : tensor.sizes)
        count *= size;
    return count;
}

// Small random numbers of the tensor's type, in memory that host and device see.
void* filled(Tensor const& tensor, DataType t, std::mt19937& source)
{
    void* place = nullptr;
    DataType const type = type_of(tensor.type, t);
    MUST(cudaMallocManaged(&place, count_of(tensor) * 4) == cudaSuccess);
    std::uniform_real_distribution<float> number(-0.5f, 0.5f);
    for (size_t i = 0; i < count_of(tensor); ++i)
        if (type == DataType::kFLOAT)
            static_cast<float*>(place)[i] = number(source);
        else if (type == DataType::kINT32) // parents: each before its children; pose columns: any below 207
            static_cast<int32_t*>(place)[i] = static_cast<int32_t>(i) - 1;
        else // halves of 0.5 to 1 by their bits, in both signs
            static_cast<uint16_t*>(place)[i] = 0x3400 | (source() & 0x83ff);
    return place;
}

void check_enqueue(IPluginV3* plugin, Node const& node, DataType t, void* library)
{
    auto* const runtime = face<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
    auto const in = described(node.inputs, t), out = described(node.outputs, t);
    std::mt19937 source(1);
    std::vector<void*> given, poisoned, direct;
    for (Tensor const& tensor : node.inputs)
        given.push_back(filled(tensor, t, source));
    for (auto* some : {&poisoned, &direct})
        for (Tensor const& tensor : node.outputs)
        {
            some->push_back(filled(tensor, t, source));
            std::memset(some->back(), 0xff, count_of(tensor) * 4);
        }
    MUST(runtime->onShapeChange(in.data(), in.size(), out.data(), out.size()) == 0);
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t ready;
    MUST(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    MUST(runtime->enqueue(in.data(), out.data(), given.data(), poisoned.data(), nullptr, stream) == 0);
    MUST(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    MUST(cudaGraphInstantiate(&ready, graph, 0) == cudaSuccess);
    MUST(cudaGraphLaunch(ready, stream) == cudaSuccess);
    int const persons = static_cast<int>(node.inputs[0].sizes[0]), half = t == DataType::kHALF;
    if (node.name == "Feedback")
    {
        int const numbers[] = {persons, 67, 64, 64, 256, 5, 3, 20, node.inputs.size() > 14 ? 256 : 0};
        auto const launch = reinterpret_cast<FeedbackLaunch>(dlsym(library, "refit_feedback"));
        MUST(launch != nullptr && launch(half, given.data(), direct[0], numbers, 256, stream) == 0);
    }
    else
    {
        auto const launch = reinterpret_cast<GruLaunch>(dlsym(library, "refit_batched_gru"));
        MUST(launch != nullptr && launch(half, given.data(), direct.data(), persons, 256, 0.15f, stream) == 0);
    }
    MUST(cudaStreamSynchronize(stream) == cudaSuccess);
    for (size_t i = 0; i < out.size(); ++i)
    {
        size_t const bytes = count_of(node.outputs[i]) * (out[i].type == DataType::kHALF ? 2 : 4);
        MUST(std::memcmp(poisoned[i], direct[i], bytes) == 0);
        std::vector<char> const poison(bytes, '\xff');
        MUST(std::memcmp(poisoned[i], poison.data(), bytes) != 0);
    }
    for (auto* some : {&given, &poisoned, &direct})
        for (void* place : *some)
            cudaFree(place);
}

void check_node(IPluginCreatorV3One* creator, Node const& node, bool device, void* library)
{
    PluginFieldCollection const fields{static_cast<int32_t>(node.fields.size()), node.fields.data()};
    std::unique_ptr<IPluginV3> const plugin(made(creator, &fields, TensorRTPhase::kBUILD));
    std::unique_ptr<IPluginV3> const bare(made(creator, nullptr, TensorRTPhase::kBUILD));
    PluginField const wrong(node.fields[0].name, node.fields[0].data, PluginFieldType::kFLOAT64, 1);
    PluginFieldCollection const wrong_fields{1, &wrong};
    MUST(creator->createPlugin("a node", &wrong_fields, TensorRTPhase::kBUILD) == nullptr);
    MUST(finder.logger.said.find("attribute") != std::string::npos);
    MUST(face<IPluginV3OneCore>(plugin.get(), PluginCapabilityType::kCORE)->getPluginName() == node.name);
    check_build(plugin.get(), node);
    check_formats(plugin.get(), node);
    std::unique_ptr<IPluginV3> const again(second_life(plugin.get(), creator, node));
    std::unique_ptr<IPluginV3> const clone(again->clone());
    auto* const runtime = face<IPluginV3OneRuntime>(clone.get(), PluginCapabilityType::kRUNTIME);
    std::unique_ptr<IPluginV3> const attached(runtime->attachToContext(nullptr));
    check_refusals(attached.get(), node);
    for (DataType t : {DataType::kFLOAT, DataType::kHALF})
        if (device)
            check_enqueue(attached.get(), node, t, library);
    std::printf("%s%s: shapes, formats, serialisation, clones, refusals%s\n", node.name.c_str(), node.form.c_str(),
        device ? ", enqueue in a graph" : "; no GPU, so no enqueue");
}

int main(int count, char** arguments)
{
    MUST(count == 2);
    void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr)
        std::printf("%s\n", dlerror());
    MUST(library != nullptr);
    auto const creators_of = reinterpret_cast<IPluginCreatorInterface* const* (*) (int32_t&)>(dlsym(library, "getCreators"));
    auto const set_finder = reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(library, "setLoggerFinder"));
    MUST(creators_of != nullptr && set_finder != nullptr);
    set_finder(&finder);
    int32_t creators = 0;
    auto* const* const list = creators_of(creators);
    MUST(creators == 2);
    int devices = 0;
    bool const device = cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0;
    for (int32_t i = 0; i < creators; ++i)
    {
        MUST(std::strcmp(list[i]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") == 0);
        auto* const creator = static_cast<IPluginCreatorV3One*>(list[i]);
        MUST(std::strcmp(creator->getPluginNamespace(), "refit") == 0);
        MUST(std::strcmp(creator->getPluginVersion(), "1") == 0);
        bool const feedback = std::strcmp(creator->getPluginName(), "Feedback") == 0;
        check_node(creator, feedback ? feedback_node(3, false) : batched_gru_node(3), device, library);
        if (feedback)
            check_node(creator, feedback_node(3, true), device, library);
    }
    return 0;
}
