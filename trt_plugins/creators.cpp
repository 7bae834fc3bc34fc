// What TensorRT asks a plugin library for: its creators, and where errors may be told.
#include "plugin.h"

namespace refit_plugin
{
namespace
{

ILoggerFinder* finder = nullptr;

} // namespace

void tell_error(std::string const& text)
{
    ILogger* const logger = finder == nullptr ? nullptr : finder->findLogger();
    if (logger != nullptr)
        logger->log(ILogger::Severity::kERROR, text.c_str());
}

} // namespace refit_plugin

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count)
{
    static nvinfer1::IPluginCreatorInterface* const creators[]
        = {refit_plugin::batched_gru_creator(), refit_plugin::feedback_creator()};
    count = 2;
    return creators;
}

EXPORTED void setLoggerFinder(nvinfer1::ILoggerFinder* given)
{
    refit_plugin::finder = given;
}
