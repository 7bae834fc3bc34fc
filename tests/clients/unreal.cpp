// What the tests run of the Unreal client: source STEP… | retarget RIG FILE…
//
// A STEP is the path of a message, or connected, lost, closed, garbage, or wait:SECONDS. RIG has one line per bone, its
// parent first: name, number of the parent, place x y z, turn x y z w relative to the parent; then, perhaps, the line "far".
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include "BonePose.h"
#include "ILiveLinkClient.h"
#include "RefitRtBodies.h"
#include "RefitRtRetarget.h"
#include "RefitRtSourceFactory.h"

static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

static std::string list(const TArray<FTransform>& bones) {
    std::ostringstream out;
    out.precision(9);
    for (int32 i = 0; i < bones.Num(); ++i) {
        const FVector place = bones[i].GetLocation();
        const FQuat turn = bones[i].GetRotation();
        out << (i ? "," : "") << "[" << place.X << "," << place.Y << "," << place.Z << "," << turn.X << "," << turn.Y << ","
            << turn.Z << "," << turn.W << "]";
    }
    return "[" + out.str() + "]";
}

// Prints what is pushed as one line of JSON per call.
class Client : public ILiveLinkClient {
    void PushSubjectStaticData_AnyThread(const FLiveLinkSubjectKey& key, UClass*, FLiveLinkStaticDataStruct&& data) override {
        const auto& skeleton = *data.Cast<FLiveLinkSkeletonStaticData>();
        std::cout << "{\"call\":\"static\",\"subject\":\"" << *key.SubjectName.ToString() << "\",\"names\":[";
        for (int32 i = 0; i < skeleton.Names.Num(); ++i) std::cout << (i ? "," : "") << '"' << *skeleton.Names[i].ToString() << '"';
        std::cout << "],\"parents\":[";
        for (int32 i = 0; i < skeleton.Parents.Num(); ++i) std::cout << (i ? "," : "") << skeleton.Parents[i];
        std::cout << "]}\n";
    }
    void PushSubjectFrameData_AnyThread(const FLiveLinkSubjectKey& key, FLiveLinkFrameDataStruct&& data) override {
        std::cout << "{\"call\":\"frame\",\"subject\":\"" << *key.SubjectName.ToString()
                  << "\",\"bones\":" << list(data.Cast<FLiveLinkAnimationFrameData>()->Transforms) << "}\n";
    }
    void RemoveSubject_AnyThread(const FLiveLinkSubjectKey& key) override {
        std::cout << "{\"call\":\"remove\",\"subject\":\"" << *key.SubjectName.ToString() << "\"}\n";
    }
};

static void status(const TSharedPtr<ILiveLinkSource>& source) {
    std::cout << "{\"call\":\"status\",\"text\":\"" << *source->GetSourceStatus().ToString()
              << "\",\"sockets\":" << FWebSocketsModule::Get().made.size() << "}\n";
}

static int source(int count, char** words) {
    Client client;
    const auto made = URefitRtSourceFactory().CreateSource("");
    made->ReceiveClient(&client, FGuid());
    for (int i = 2; i < count; ++i) {
        const std::string step = words[i];
        IWebSocket& socket = *FWebSocketsModule::Get().made.back().second;
        stub::seconds() += step.rfind("wait:", 0) == 0 ? std::stod(step.substr(5)) : 0.03;
        if (step == "connected") socket.Connected.Broadcast();
        else if (step == "lost") socket.ConnectionError.Broadcast("refused");
        else if (step == "closed") socket.Closed.Broadcast(1006, "", false);
        else if (step == "garbage") socket.RawMessage.Broadcast("garbage", 7, 0);
        else if (step.rfind("wait:", 0) != 0) {  // a message comes in two parts
            const std::string bytes = read(step);
            const std::size_t half = bytes.size() / 2;
            socket.RawMessage.Broadcast(bytes.data(), half, bytes.size() - half);
            socket.RawMessage.Broadcast(bytes.data() + half, bytes.size() - half, 0);
        }
        made->Update();
        status(made);
    }
    made->RequestSourceShutdown();
    std::cout << "{\"call\":\"end\",\"valid\":" << made->IsSourceStillValid()
              << ",\"open\":" << FWebSocketsModule::Get().made.back().second->open << "}\n";
    return 0;
}

static int retarget(int count, char** words) {
    FCompactPose pose;
    URefitRtRetarget asset;
    std::istringstream lines(read(words[2]));
    for (std::string line; std::getline(lines, line);) {
        if (line == "far") asset.bKeepDistances = true;
        std::istringstream in(line);
        std::string name;
        int32 parent = 0;
        double n[7] = {};
        in >> name >> parent;
        for (double& value : n) in >> value;
        if (!in) continue;
        pose.Container.Skeleton.Names.push_back(name.c_str());
        pose.Container.Parents.push_back(parent);
        pose.Container.Reference.emplace_back(FQuat(n[3], n[4], n[5], n[6]), FVector(n[0], n[1], n[2]));
    }
    refit_rt::Crowd crowd;
    for (int i = 3; i < count; ++i) {
        const std::string bytes = read(words[i]);
        refit_rt::Message message;
        if (!refit_rt::decode(bytes.data(), bytes.size(), message).empty()) return 1;
        FLiveLinkAnimationFrameData frame;
        const refit_rt::Bones person = crowd.update(message, i).at(0).bones;
        for (const auto& bone : person) frame.Transforms.Add(RefitRt::ToTransform(bone));
        pose.Bones = pose.Container.Reference;
        asset.BuildPoseFromAnimationData(0.03f, nullptr, &frame, pose);
        TArray<FTransform> bones;
        for (const FTransform& bone : pose.Bones) bones.Add(bone);
        std::cout << "{\"call\":\"pose\",\"bones\":" << list(bones) << "}\n";
    }
    return 0;
}

int main(int count, char** words) {
    const int result = std::string(words[1]) == "source" ? source(count, words) : retarget(count, words);
    for (const std::string& line : stub::lines()) std::cout << "{\"call\":\"log\",\"text\":\"" << line << "\"}\n";
    return result;
}
