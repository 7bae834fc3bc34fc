// Sizes as TensorRT's builder would hand them to a plugin, without TensorRT's library: numbers that are all known.
#pragma once

#include <NvInferRuntime.h>

#include <deque>

class KnownSize final : public nvinfer1::IDimensionExpr
{
public:
    explicit KnownSize(int64_t size)
    {
        inside_.size = size;
        mImpl = &inside_;
    }
    ~KnownSize() noexcept override = default;

private:
    struct Inside final : nvinfer1::apiv::VDimensionExpr
    {
        int64_t size = 0;
        bool isConstant() const override { return true; }
        int64_t getConstantValue() const override { return size; }
        bool isSizeTensor() const override { return false; }
    };
    Inside inside_;
};

class KnownSizes final : public nvinfer1::IExprBuilder
{
public:
    KnownSizes() { mImpl = &inside_; }
    ~KnownSizes() noexcept override = default;

private:
    struct Inside final : nvinfer1::apiv::VExprBuilder
    {
        std::deque<KnownSize> made;
        nvinfer1::IDimensionExpr const* constant(int64_t size) override { return &made.emplace_back(size); }
        nvinfer1::IDimensionExpr const* operation(nvinfer1::DimensionOperation, nvinfer1::IDimensionExpr const&,
            nvinfer1::IDimensionExpr const&) override
        {
            return nullptr; // neither plugin computes with sizes
        }
        nvinfer1::IDimensionExpr const* declareSizeTensor(
            int32_t, nvinfer1::IDimensionExpr const&, nvinfer1::IDimensionExpr const&) override
        {
            return nullptr;
        }
    };
    Inside inside_;
};
