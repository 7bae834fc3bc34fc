// Decodes mutated messages: fuzz COUNT SEED FILE…  Prints how many were accepted and refused.
//
// Every message lies in memory of its exact size, so that the address sanitizer sees a read beyond it. Memory is counted
// in a decode: a length that is claimed and not there must not be allocated.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "refit_rt.hpp"

static std::size_t allocated = 0;
extern "C" void __sanitizer_malloc_hook(const volatile void*, std::size_t size) { allocated += size; }
extern "C" void __sanitizer_free_hook(const volatile void*) {}

static std::uint64_t state = 0;

// xorshift64*, Vigna 2016
static std::uint64_t rng() {
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return state * 2685821657736338717ull >> 32;
}

static std::size_t below(std::size_t most) { return most ? rng() % most : 0; }

static std::size_t header_end(const std::string& bytes) {
    std::uint64_t length = 0;
    if (bytes.size() >= 8) std::memcpy(&length, bytes.data(), 8);
    return static_cast<std::size_t>(std::min<std::uint64_t>(length, bytes.size()));
}

// Puts something hostile in place of a number, a text or a bracket of the header, and mends the header's length.
static void mutate_header(std::string& bytes) {
    static const char* const hostile[] = {"0", "1", "-1", "18446744073709551615", "999999999999999999", "4294967296",
                                          "2305843009213693952", "1e400", "nan", "[", "]", "{", "}", "\"", "\\u", "\\ud800",
                                          "\\ud83d\\ude00", "\\", ",", ":", "[]", "{}", "null", "\"I64\"", "\"F64\"",
                                          "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "\xff", " "};
    const std::size_t length = header_end(bytes);
    if (length < 2 || 8 + length > bytes.size()) return;
    std::string header = bytes.substr(8, length), rest = bytes.substr(8 + length);
    std::size_t start = below(header.size());
    if (below(4)) start = std::min(header.find_first_of("0123456789:[{\"", start), header.size() - 1);
    std::size_t end = start + 1;
    while (end < header.size() && header[end] >= '0' && header[end] <= '9') ++end;
    const std::string piece = below(8) ? hostile[below(std::size(hostile))] : header.substr(below(header.size()), below(200));
    header.replace(start, below(3) ? end - start : 0, piece);
    const std::uint64_t now = header.size();
    bytes.assign(reinterpret_cast<const char*>(&now), 8);
    bytes += header + rest;
}

static void mutate(std::string& bytes) {
    switch (below(6)) {
        case 0:  // some bytes, most of them of the header
            for (std::size_t n = 1 + below(8); n-- && !bytes.empty();)
                bytes[below(below(2) ? bytes.size() : header_end(bytes))] = static_cast<char>(rng());
            break;
        case 1:
            bytes.resize(below(bytes.size()));
            break;
        case 2: {  // the length of the header
            const std::uint64_t lengths[] = {0, 1, 2, bytes.size() - 8, bytes.size(), ~0ull, ~0ull - 7, rng(), 1ull << 62};
            const std::uint64_t length = lengths[below(std::size(lengths))];
            if (bytes.size() >= 8) std::memcpy(&bytes[0], &length, 8);
            break;
        }
        case 3:
            bytes.append(below(64), static_cast<char>(rng()));
            break;
        default:
            for (std::size_t n = 1 + below(3); n--;) mutate_header(bytes);
    }
}

int main(int count, char** arguments) {
    std::vector<std::string> messages;
    for (int i = 3; i < count; ++i) {
        std::ifstream file(arguments[i], std::ios::binary);
        messages.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
    state = std::strtoull(arguments[2], nullptr, 10);  // not 0
    long accepted = 0, refused = 0;
    double most = 0;
    refit_rt::Message message;
    for (long i = std::atol(arguments[1]); i--;) {
        std::string bytes = messages[below(messages.size())];
        for (std::size_t n = 1 + below(2); n--;) mutate(bytes);
        const std::size_t size = bytes.size();
        const std::unique_ptr<char[]> exact(new char[size]);
        std::copy(bytes.begin(), bytes.end(), exact.get());
        allocated = 0;
        const std::string error = refit_rt::decode(exact.get(), size, message);
        (error.empty() ? accepted : refused) += 1;
        most = std::max(most, double(allocated) / double(size + 1024));
        if (allocated > 32 * (size + 1024)) {
            std::fprintf(stderr, "%zu bytes allocated for a message of %zu\n", allocated, size);
            return 1;
        }
        if (error.empty())  // whatever is accepted can be used
            for (std::size_t person = 0; person < message.people.size(); ++person)
                for (std::size_t joint = 0; joint < refit_rt::joint_count; ++joint)
                    refit_rt::unreal.quaternion(refit_rt::joint_rotation(message.people, person, joint));
    }
    std::printf("{\"accepted\":%ld,\"refused\":%ld,\"most_bytes_per_byte\":%.2f}\n", accepted, refused,
                most);
    return 0;
}
