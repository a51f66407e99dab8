// Prunes one seeded layer to 2:4 by the Wanda criterion and prints what became of it.
#include <cupel/cupel.h>

#include <iostream>

int main() {
  torch::manual_seed(0);
  const torch::Tensor weight = torch::randn({64, 128});
  const torch::Tensor activations = torch::randn({256, 128});

  cupel::InputStats stats(weight.size(1));
  stats.add(activations);
  const cupel::LayerResult result =
      cupel::Prune("wanda", cupel::n_of_m(2, 4)).compress(weight, stats, {.name = "q_proj"});

  std::cout << "q_proj: sparsity " << result.sparsity << ", kept "
            << result.mask.sum().item<int64_t>() << " of " << weight.numel() << " weights\n";
}
