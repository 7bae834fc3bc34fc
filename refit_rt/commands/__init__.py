"""The command line's verbs, one file each, and their table."""

VERBS = {  # verb → module of refit_rt.commands, first line of its help; "bench live" is the function bench_live
    "run": ("run", "Follow people in a webcam, a file or a network stream, and publish their bodies."),
    "demo": ("demo", "Play the bundled clip as a camera, and measure speed, delay and accuracy."),
    "camera": ("camera", "Send the pictures of a camera to a run on another machine."),
    "measure": ("measure", "Measure a person's shape in a recording, for --fit.shapes."),
    "bridge": ("bridge", "Send a stream on to VMC, SONIC, WebSocket or JSON."),
    "replay": ("replay", "Publish a recording as if it were live."),
    "export": ("export", "Turn a recording into AMASS, BVH, glTF, USD or CSV."),
    "client": ("client", "Copy out a client of the stream: C++, JavaScript and others."),
    "listen": ("listen", "Subscribe to a stream and print one line per message: people, rate, age."),
    "doctor": ("doctor", "Report what is installed, and how to get what is missing."),
    "import-smpl": ("import_smpl", "Turn your own SMPL model into a body file for --fit.body."),
    "import-weights": ("import_weights", "Turn an official ReFit checkpoint into a bundle for --fit.bundle."),
    "bundle": ("bundle", "Turn a checkpoint of training/ into a bundle for --fit.bundle."),
    "quantise": ("quantise", "Add an int8 encoder to a bundle, for --fit.precision int8."),
    "build": ("build", "Build the TensorRT engines of a bundle for this GPU."),
    "bench live": ("bench", "Measure the whole pipeline on a 720p clip at 60 frames per second."),
    "bench people": ("bench", "Measure what each further person costs."),
    "bench encoder": ("bench", "Measure the encoder in every precision."),
    "bench loop": ("bench", "Measure the compiled loop against torch."),
    "bench kernels": ("bench", "Measure the CUDA kernels of the loop against torch."),
}
