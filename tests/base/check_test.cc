// check_test.cc: checks that end the process.
#include "base/check.h"

#include <gtest/gtest.h>

#include "support/sanitizer.h"

namespace weir {
namespace {

TEST(CheckDeathTest, NamesConditionAndPlace) {
  EXPECT_DEATH(WEIR_CHECK(1 + 1 == 3), "^weir: internal check failed: 1 \\+ 1 == 3 \\(check_test.cc:[0-9]+\\)\n$");
}

TEST(Check, EvaluatesOnceAndContinues) {
  int evaluated = 0;
  WEIR_CHECK(++evaluated == 1);
  EXPECT_EQ(evaluated, 1);
}

TEST(CheckDeathTest, DcheckIsOnInDebugBuildsOnly) {
  int evaluated = 0;
  if (kDebugChecks) {
    EXPECT_DEATH(WEIR_DCHECK(++evaluated == 2), "internal check failed");
  } else {
    WEIR_DCHECK(++evaluated == 2);
    EXPECT_EQ(evaluated, 0) << "a release build evaluates what it does not check";
  }
}

}  // namespace
}  // namespace weir
