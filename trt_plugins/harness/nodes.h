// The two nodes as README.md lists them, once more and by hand: what harness.cpp holds the plugins to.
#pragma once

#include <NvInferRuntime.h>

#include <string>
#include <vector>

struct Tensor
{
    char type; // T, f or i
    std::vector<int64_t> sizes;
};

struct Node
{
    std::string name, form;
    std::vector<nvinfer1::PluginField> fields;
    std::vector<Tensor> inputs, outputs;
};

inline Node batched_gru_node(int64_t persons)
{
    static float const scale_floor = 0.15f;
    return {"BatchedGRU", "",
        {nvinfer1::PluginField("scale_floor", &scale_floor, nvinfer1::PluginFieldType::kFLOAT32, 1)},
        {{'T', {persons, 26, 32}}, {'T', {persons, 256}}, {'f', {persons, 3}}, {'f', {persons, 144}},
            {'f', {persons, 10}}, {'f', {persons, 3}}, {'T', {2496, 416}}, {'T', {2496}}, {'T', {26, 96, 32}},
            {'T', {26, 32, 35}}, {'T', {26, 32}}, {'T', {24, 6, 32}}, {'T', {24, 6}}, {'T', {10, 32}}, {'T', {10}},
            {'T', {3, 32}}, {'T', {3}}},
        {{'T', {persons, 26, 32}}, {'f', {persons, 144}}, {'f', {persons, 10}}, {'f', {persons, 3}}}};
}

inline Node feedback_node(int64_t persons, bool keypoints)
{
    static float const crop_px = 256;
    static int32_t const radius = 3;
    Node node{"Feedback", keypoints ? " with keypoints" : "",
        {nvinfer1::PluginField("crop_px", &crop_px, nvinfer1::PluginFieldType::kFLOAT32, 1),
            nvinfer1::PluginField("radius", &radius, nvinfer1::PluginFieldType::kINT32, 1)},
        {{'T', {persons, 67, 64, 64}}, {'f', {persons, 144}}, {'f', {persons, 10}}, {'f', {persons, 3}},
            {'f', {persons, 6}}, {'f', {11, 72}}, {'i', {24}}, {'f', {31, 204}}, {'i', {20}}, {'f', {67, 24}},
            {'T', {67, 5, 56}}, {'T', {67, 5}}, {'T', {256, 336}}, {'T', {256}}},
        {{'T', {persons, 256}}}};
    if (keypoints)
        for (Tensor const& tensor : {Tensor{'f', {persons, 33, 4}}, Tensor{'T', {256, 352}}, Tensor{'T', {256}},
                 Tensor{'T', {256, 256}}, Tensor{'T', {256}}})
            node.inputs.push_back(tensor);
    return node;
}
