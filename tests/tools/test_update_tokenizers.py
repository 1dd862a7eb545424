"""The page of tokenizers says what the results file says."""

import update_results
import update_tokenizers as tool

from cjepa.files import read_json


def test_the_page_of_tokenizers_says_what_the_results_file_says():
    result = read_json(update_results.DOCS / "results" / "tokenizers.json")
    assert update_results.block_of(tool.PAGE, "tokenizers") == tool.page_block(result)
    for environment in tool.TITLES:  # no picking: every seed is there
        seeds = [
            row["seed"] for row in result["rows"] if (row["environment"], row["tokenizer"]) == (environment, "slots")
        ]
        assert seeds == [0, 1, 2]
