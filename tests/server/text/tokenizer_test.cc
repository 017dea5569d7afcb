#include "server/text/tokenizer.h"
#include "tests/server/text/golden_folder.h"
