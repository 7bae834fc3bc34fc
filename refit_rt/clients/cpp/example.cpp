// Prints one line per message of a refit_rt stream.
//
//   g++ -std=c++17 -O2 example.cpp -o example -lzmq
//   ./example tcp://127.0.0.1:5560
#include <zmq.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "refit_rt.hpp"

int main(int count, char** arguments) {
    const char* address = count > 1 ? arguments[1] : "tcp://127.0.0.1:5560";
    void* context = zmq_ctx_new();
    void* socket = zmq_socket(context, ZMQ_SUB);

    // A new message replaces an unread one. So the reader is never late, however slow it is: it loses messages instead.
    const int newest_only = 1;
    zmq_setsockopt(socket, ZMQ_CONFLATE, &newest_only, sizeof newest_only);
    zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 0);
    if (zmq_connect(socket, address) != 0) {
        std::fprintf(stderr, "%s: %s. Give an address such as tcp://127.0.0.1:5560\n", address, zmq_strerror(zmq_errno()));
        return 2;
    }

    refit_rt::Message message;
    zmq_msg_t part;
    zmq_msg_init(&part);
    bool ended = false;
    while (!ended && zmq_msg_recv(&part, socket, 0) >= 0) {  // for a game's loop, ZMQ_DONTWAIT returns at once
        const std::string error = refit_rt::decode(zmq_msg_data(&part), zmq_msg_size(&part), message);
        if (!error.empty()) {
            std::fprintf(stderr, "%s\n", error.c_str());
            continue;
        }
        const refit_rt::People& people = message.people;
        using namespace std::chrono;
        const double now_s = duration<double>(system_clock::now().time_since_epoch()).count();
        std::printf("frame %lld  %s  people %zu  age %.0f ms", static_cast<long long>(message.frame),
                    message.status.c_str(), people.size(), 1000 * (now_s - message.captured_unix_s));
        for (std::size_t person = 0; person < people.size(); ++person) {
            const refit_rt::Vec3 pelvis = refit_rt::unity.point(refit_rt::joint_of(people.joints_world, person, 0));
            std::printf("  id %lld at (%.2f, %.2f, %.2f)", static_cast<long long>(people.ids[person]), pelvis[0],
                        pelvis[1], pelvis[2]);
        }
        std::printf("\n");
        std::fflush(stdout);
        ended = message.status == "ended";
    }
    zmq_msg_close(&part);
    zmq_close(socket);
    zmq_ctx_term(context);
    return 0;
}
