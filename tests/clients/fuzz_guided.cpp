// The decoder under libFuzzer, which keeps the inputs that reach new code and mutates them further.
//
// An input is a message as it is, or, after a zero byte, a header and the arrays with a zero byte between them: their
// lengths are then always right, so that mutations reach what lies behind the header.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "refit_rt.hpp"

static void check(bool fine) {
    if (!fine) std::abort();
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string bytes(reinterpret_cast<const char*>(data), size);
    if (size > 0 && data[0] == 0) {
        const std::size_t end = std::min(bytes.find('\0', 1), size);
        const std::uint64_t length = end - 1;
        bytes = std::string(reinterpret_cast<const char*>(&length), 8) + bytes.substr(1, length) +
                (end < size ? bytes.substr(end + 1) : "");
    }
    const std::string exact = bytes;  // its memory ends where the message does
    refit_rt::Message message;
    message.camera = "unchanged";
    const std::string error = refit_rt::decode(exact.data(), exact.size(), message);
    if (!error.empty()) {
        check(message.camera == "unchanged" && message.people.size() == 0);
        return 0;
    }
    const refit_rt::People& people = message.people;
    const std::size_t n = people.size();
    check(people.poses.size() == n * 72 && people.joints_world.size() == n * 72 && people.trans.size() == n * 3);
    check(people.views.empty() || people.views.size() == n);
    check(people.contacts.empty() || people.contacts.size() == n * 4);
    check(message.cameras.size() == message.world_from_cameras.size());
    check(message.floor.empty() || message.floor.size() == 4);
    for (std::size_t person = 0; person < n; ++person) refit_rt::joint_rotation(people, person, 0);
    return 0;
}
