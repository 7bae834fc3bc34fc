// Enough of libnvinfer for its Python bindings to load a plugin library, where TensorRT itself cannot be installed.
//
// Every factory answers nullptr; the plugin registry is real enough to open libraries and find creators.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstring>
#include <vector>

using namespace nvinfer1;

namespace
{

struct Registry final : IPluginRegistry
{
    std::vector<IPluginCreatorInterface*> creators;

    PluginLibraryHandle loadLibrary(AsciiChar const* path) noexcept override
    {
        void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr)
            return nullptr;
        auto const all = reinterpret_cast<IPluginCreatorInterface* const* (*) (int32_t&)>(dlsym(library, "getCreators"));
        int32_t count = 0;
        auto* const* const list = all(count);
        creators.insert(creators.end(), list, list + count);
        return library;
    }

    IPluginCreatorInterface* getCreator(
        AsciiChar const* name, AsciiChar const* version, AsciiChar const* space) noexcept override
    {
        for (IPluginCreatorInterface* creator : creators)
        {
            auto* const one = static_cast<IPluginCreatorV3One*>(creator);
            if (!std::strcmp(one->getPluginName(), name) && !std::strcmp(one->getPluginVersion(), version)
                && !std::strcmp(one->getPluginNamespace(), space))
                return creator;
        }
        return nullptr;
    }

    IPluginCreatorInterface* const* getAllCreators(int32_t* count) const noexcept override
    {
        *count = static_cast<int32_t>(creators.size());
        return creators.data();
    }

    IPluginCreatorInterface* const* getAllCreatorsRecursive(int32_t* count) noexcept override
    {
        return getAllCreators(count);
    }

    bool registerCreator(IPluginCreatorInterface& creator, AsciiChar const*) noexcept override
    {
        creators.push_back(&creator);
        return true;
    }

    bool deregisterCreator(IPluginCreatorInterface const&) noexcept override { return true; }
    void deregisterLibrary(PluginLibraryHandle) noexcept override {}
    void setErrorRecorder(IErrorRecorder*) noexcept override {}
    IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
    bool isParentSearchEnabled() const override { return true; }
    void setParentSearchEnabled(bool) override {}
    IPluginResource* acquirePluginResource(AsciiChar const*, IPluginResource*) noexcept override { return nullptr; }
    int32_t releasePluginResource(AsciiChar const*) noexcept override { return 0; }
};

} // namespace

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED IPluginRegistry* getPluginRegistry() noexcept
{
    static Registry registry;
    return &registry;
}

EXPORTED void* getBuilderPluginRegistry(int) noexcept { return getPluginRegistry(); }
EXPORTED void* createInferBuilder_INTERNAL(void*, int32_t) { return nullptr; }
EXPORTED void* createInferRuntime_INTERNAL(void*, int32_t) noexcept { return nullptr; }
EXPORTED void* createInferRefitter_INTERNAL(void*, void*, int32_t) noexcept { return nullptr; }
EXPORTED void* createNvOnnxParser_INTERNAL(void*, void*, int32_t) { return nullptr; }
EXPORTED void* createNvOnnxParserRefitter_INTERNAL(void*, void*, int32_t) { return nullptr; }
EXPORTED bool initLibNvInferPlugins(void*, char const*) { return true; }
EXPORTED int getNvOnnxParserVersion() { return 110000; }
