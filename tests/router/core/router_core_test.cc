#include "router/core/router_core.h"
