// Purpose: places to swap to, for tests: a folder of one's own, small file systems, block devices. Whatever needs
//          rights that the test has not got is null, and the test says that it was skipped.
// Thread safety: one thread. Invariants: mounts are made in a mount namespace of the test's own and loop devices free
//                themselves, so nothing stays behind, however the test ends.
#pragma once

#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>

namespace weir {

class SwapFolder {
 public:
  SwapFolder() {
    // The file systems under test are those that people swap to: of the temporary folder here, which may be anything.
    std::string name = (std::filesystem::temp_directory_path() / "weir-swap-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) abort();
    path_ = name;
  }
  ~SwapFolder() {
    umount2(path_.c_str(), MNT_DETACH);
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  SwapFolder(const SwapFolder&) = delete;
  SwapFolder& operator=(const SwapFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::set<std::string> names() const {
    std::set<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) found.insert(entry.path().filename().string());
    return found;
  }
  std::string write(const std::string& name, const std::string& content, mode_t mode = 0600) const {
    const std::string path = *this / name;
    std::ofstream(path, std::ios::binary) << content;
    chmod(path.c_str(), mode);
    return path;
  }
  // A file of zeros that takes up no space.
  std::string sparse(const std::string& name, off_t bytes) const {
    const std::string path = write(name, "");
    if (truncate(path.c_str(), bytes) != 0) abort();
    return path;
  }

  // Mounts something on the folder, visible for this process only.
  bool mount(const char* source, const char* type, const char* options, unsigned long flags = 0) const {
    static const bool own = unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, "") == 0;
    return own && ::mount(source, path_.c_str(), type, flags, options) == 0;
  }

 private:
  std::string path_;
};

// A block device over a file.
class LoopDevice {
 public:
  // Null when the system has none for us.
  static std::unique_ptr<LoopDevice> make(const std::string& file) {
    const int backing = open(file.c_str(), O_RDWR | O_CLOEXEC);
    if (backing < 0) abort();
    std::unique_ptr<LoopDevice> device;
    // Another process may take the free number first.
    for (int attempt = 0; attempt < 20 && device == nullptr; ++attempt) device = try_make(backing);
    close(backing);
    return device;
  }
  ~LoopDevice() { close(fd_); }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  const std::string& path() const { return path_; }

 private:
  LoopDevice(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  static std::unique_ptr<LoopDevice> try_make(int backing) {
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) return nullptr;
    const int number = ioctl(control, LOOP_CTL_GET_FREE);
    close(control);
    if (number < 0) return nullptr;
    const std::string path = "/dev/loop" + std::to_string(number);
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0) return nullptr;
    struct loop_config config = {};
    config.fd = static_cast<__u32>(backing);
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    if (ioctl(fd, LOOP_CONFIGURE, &config) != 0) {
      close(fd);
      return nullptr;
    }
    return std::unique_ptr<LoopDevice>(new LoopDevice(fd, path));
  }

  int fd_;
  std::string path_;
};

}  // namespace weir
