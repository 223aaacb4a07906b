// SHA-256 (FIPS 180-4). Envoy's own is not within a module's reach, and a library would be one more for
// each machine that compiles this.
#pragma once

#include <stddef.h>
#include <stdint.h>

void sha256(const void *data, size_t bytes, uint32_t hash[8]);
