"""vLLM's benchmark of servers, as `vllm bench serve` runs it. The command itself asks for a
distribution named vllm, which an environment with vLLM's wheel for the CPU does not have."""

from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
