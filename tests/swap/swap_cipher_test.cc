// swap_cipher_test.cc: ChaCha20 against the vectors of RFC 8439 and against a second, plain version.
#include "swap/swap_cipher.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "base/units.h"
#include "support/random.h"

namespace weir {
namespace {

using Bytes = std::vector<unsigned char>;

Bytes from_hex(const std::string& hex) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<unsigned char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

template <class T>
T load(const std::string& hex) {
  const Bytes bytes = from_hex(hex);
  T value;
  EXPECT_EQ(bytes.size(), sizeof(value));
  memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

Bytes crypt(const CipherKey& key, const CipherNonce& nonce, uint32_t counter, const Bytes& text) {
  Bytes out(text.size());
  chacha20(key, nonce, counter, text.data(), out.data(), text.size());
  return out;
}

const std::string kZeros64(64, '0');

TEST(SwapCipher, TheBaselineIsAlwaysThere) {
  EXPECT_TRUE(can_use(CipherPath::kBaseline));
  EXPECT_TRUE(can_use(best_cipher_path()));
}

// Appendix A.1: the key stream, as the encryption of zeros.
TEST(SwapCipher, KeyStreamVectors) {
  struct Case {
    std::string key, nonce;
    uint32_t counter;
    const char* stream;
  };
  const Case cases[] = {{kZeros64, "000000000000000000000000", 0,
                         "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
                         "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"},
                        {kZeros64, "000000000000000000000000", 1,
                         "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
                         "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"},
                        {kZeros64.substr(1) + "1", "000000000000000000000000", 1,
                         "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
                         "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0"},
                        {"00ff" + kZeros64.substr(4), "000000000000000000000000", 2,
                         "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
                         "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096"},
                        {kZeros64, "000000000000000000000002", 0,
                         "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
                         "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d"}};
  for (const Case& c : cases)
    EXPECT_EQ(crypt(load<CipherKey>(c.key), load<CipherNonce>(c.nonce), c.counter, Bytes(64)), from_hex(c.stream));
}

// Section 2.4.2: a text that ends within a block.
TEST(SwapCipher, EncryptionVector) {
  const auto key = load<CipherKey>("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
  const auto nonce = load<CipherNonce>("000000000000004a00000000");
  const std::string text =
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be "
      "it.";
  const Bytes wanted = from_hex(
      "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b"
      "f91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8"
      "07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736"
      "5af90bbf74a35be6b40b8eedf2785e42874d");
  EXPECT_EQ(crypt(key, nonce, 1, Bytes(text.begin(), text.end())), wanted);
  EXPECT_EQ(crypt(key, nonce, 1, wanted), Bytes(text.begin(), text.end()));
}

// One block, word by word as in section 2.3.
Bytes plain_block(const CipherKey& key, const CipherNonce& nonce, uint32_t counter) {
  std::array<uint32_t, 16> start = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  for (size_t i = 0; i < 8; ++i) start[4 + i] = key.words[i];
  start[12] = counter;
  for (size_t i = 0; i < 3; ++i) start[13 + i] = nonce.words[i];
  auto x = start;
  const auto rotate = [](uint32_t v, unsigned n) { return (v << n) | (v >> (32 - n)); };
  const auto quarter = [&](size_t a, size_t b, size_t c, size_t d) {
    x[d] = rotate(x[d] ^ (x[a] += x[b]), 16);
    x[b] = rotate(x[b] ^ (x[c] += x[d]), 12);
    x[d] = rotate(x[d] ^ (x[a] += x[b]), 8);
    x[b] = rotate(x[b] ^ (x[c] += x[d]), 7);
  };
  for (int round = 0; round < 10; ++round) {
    for (size_t i = 0; i < 4; ++i) quarter(i, 4 + i, 8 + i, 12 + i);
    for (size_t i = 0; i < 4; ++i) quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
  }
  Bytes bytes(64);
  for (size_t i = 0; i < 16; ++i) {
    const uint32_t word = x[i] + start[i];
    memcpy(&bytes[i * 4], &word, 4);
  }
  return bytes;
}

TEST(SwapCipher, PagesAgreeWithThePlainVersion) {
  Random random(3);
  for (int round = 0; round < 20; ++round) {
    CipherKey key;
    CipherNonce nonce;
    for (uint32_t& word : key.words) word = static_cast<uint32_t>(random.next());
    for (uint32_t& word : nonce.words) word = static_cast<uint32_t>(random.next());
    // The counter may wrap around.
    const uint32_t counter = round == 0 ? UINT32_MAX - 2 : static_cast<uint32_t>(random.next());
    const size_t size = round % 2 == 0 ? kPageSize : random.below(kPageSize);
    Bytes text(size);
    for (auto& byte : text) byte = static_cast<unsigned char>(random.next());
    Bytes wanted(size);
    for (size_t i = 0; i < size; ++i) {
      static thread_local Bytes block;
      if (i % 64 == 0) block = plain_block(key, nonce, counter + static_cast<uint32_t>(i / 64));
      wanted[i] = text[i] ^ block[i % 64];
    }
    ASSERT_EQ(crypt(key, nonce, counter, text), wanted);
    for (CipherPath path : {CipherPath::kBaseline, CipherPath::kAvx2, CipherPath::kAvx512}) {
      if (!can_use(path)) continue;
      Bytes out(size);
      chacha20(path, key, nonce, counter, text.data(), out.data(), size);
      ASSERT_EQ(out, wanted) << "path " << static_cast<int>(path);
    }
    chacha20(key, nonce, counter, wanted.data(), wanted.data(), size);
    ASSERT_EQ(wanted, text) << "in place";
  }
}

}  // namespace
}  // namespace weir
