// Minimises two-level logic after the Berkeley tool: random covers with don't-cares are expanded against their
// complement, made irredundant and reduced until nothing improves. Each result is proved equivalent to its input.
#include <algorithm>
#include <vector>

#include "common.h"
#include "cover.h"

namespace {

using bench::Cover;
using bench::Cube;

struct Problem {
  unsigned variables;
  Cover on, dont_care;
};

Cover random_cover(unsigned variables, size_t cubes, bench::Rng& rng) {
  Cover cover;
  for (size_t i = 0; i < cubes; ++i) {
    Cube cube(variables);
    // Half of the variables carry a literal, as in the control logic of the benchmark suites.
    for (unsigned v = 0; v < variables; ++v) {
      if (rng.below(2) == 0) cube.set(v, 1 + rng.below(2));
    }
    cover.push_back(std::move(cube));
  }
  return cover;
}

size_t cost(const Cover& cover) {
  size_t literals = 0;
  for (const Cube& cube : cover) literals += cube.literals();
  return cover.size() * 1'000 + literals;  // a cube less always counts more than its literals
}

void drop_contained(Cover& cover) {
  Cover kept;
  for (size_t i = 0; i < cover.size(); ++i) {
    bool contained = false;
    for (const Cube& other : kept) contained = contained || other.contains(cover[i]);
    for (size_t j = i + 1; j < cover.size() && !contained; ++j) contained = cover[j].contains(cover[i]);
    if (!contained) kept.push_back(std::move(cover[i]));
  }
  cover = std::move(kept);
}

// Raises literals of each cube as far as the complement of the function allows.
void expand(Cover& cover, const Cover& off) {
  std::sort(cover.begin(), cover.end(), [](const Cube& a, const Cube& b) {
    return a.literals() != b.literals() ? a.literals() > b.literals() : a.digest() < b.digest();
  });
  for (Cube& cube : cover) {
    for (unsigned v = 0; v < cube.variables(); ++v) {
      if (cube.get(v) == 3) continue;
      Cube raised(cube);
      raised.set(v, 3);
      const bool allowed = std::none_of(off.begin(), off.end(), [&](const Cube& o) { return o.intersects(raised); });
      if (allowed) cube = std::move(raised);
    }
  }
  drop_contained(cover);
}

// Every cube but the one at `skip`, and the don't-cares, seen from inside cube `skip`.
Cover rest_within(const Cover& cover, size_t skip, const Cover& dont_care) {
  Cover rest;
  for (size_t i = 0; i < cover.size(); ++i) {
    if (i != skip && cover[i].intersects(cover[skip])) rest.push_back(cover[i].cofactor(cover[skip]));
  }
  for (const Cube& cube : dont_care) {
    if (cube.intersects(cover[skip])) rest.push_back(cube.cofactor(cover[skip]));
  }
  return rest;
}

void make_irredundant(Cover& cover, const Problem& problem) {
  for (size_t i = cover.size(); i-- > 0;) {
    if (bench::tautology(rest_within(cover, i, problem.dont_care), problem.variables)) {
      cover.erase(cover.begin() + static_cast<ptrdiff_t>(i));
    }
  }
}

// Shrinks each cube to what only it covers, so that the next expansion may go another way.
void reduce(Cover& cover, const Problem& problem) {
  for (size_t i = 0; i < cover.size(); ++i) {
    const Cover only = bench::complement(rest_within(cover, i, problem.dont_care), problem.variables);
    if (only.empty()) continue;
    Cube hull(only[0]);
    for (const Cube& cube : only) hull.extend_to(cube);
    cover[i].restrict_to(hull);
  }
}

Cover minimise(const Problem& problem, const Cover& off) {
  Cover best = problem.on;
  expand(best, off);
  make_irredundant(best, problem);
  for (;;) {
    Cover next = best;
    reduce(next, problem);
    expand(next, off);
    make_irredundant(next, problem);
    if (cost(next) >= cost(best)) return best;
    best = std::move(next);
  }
}

void prove(const Cover& result, const Problem& problem, const Cover& off) {
  for (const Cube& cube : result) {
    for (const Cube& forbidden : off) {
      if (cube.intersects(forbidden)) bench::fail("espresso: the result covers too much");
    }
  }
  Cover all = result;
  all.insert(all.end(), problem.dont_care.begin(), problem.dont_care.end());
  for (const Cube& cube : problem.on) {
    if (!bench::tautology(bench::cofactor(all, cube), problem.variables)) {
      bench::fail("espresso: the result covers too little");
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = bench::parse_options(argc, argv, 1);
  bench::Rng rng(options.seed);
  uint64_t sum = 0;
  const size_t problems = options.scaled(300);
  for (size_t i = 0; i < problems; ++i) {
    const auto variables = static_cast<unsigned>(rng.between(10, 14));
    Problem problem{variables, random_cover(variables, rng.between(60, 120), rng), {}};
    problem.dont_care = random_cover(variables, 10, rng);
    Cover all = problem.on;
    all.insert(all.end(), problem.dont_care.begin(), problem.dont_care.end());
    const Cover off = bench::complement(all, variables);
    const Cover result = minimise(problem, off);
    prove(result, problem, off);
    for (const Cube& cube : result) sum += cube.digest();
  }
  return bench::finish("espresso", sum);
}
