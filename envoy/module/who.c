// Tells the access log who called without naming them: the first half of a keyed SHA-256 of the verified token's
// subject, as 32 hexadecimal digits in the dynamic metadata `who`, `user`. Nobody without the key can try out
// which user it was.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "module.h"
#include "sha256.h"

enum { MOST_KEY = 4096, WORDS = 4, WORD_DIGITS = 8 };

typedef struct {
  char key[MOST_KEY];
  size_t bytes;
} Key;

// The configuration is the path of the key's file.
static void *config_new(EnvoyConfig envoy, Text path) {
  (void)envoy;
  char name[4096];
  if (path.length >= sizeof name) return NULL;
  memcpy(name, path.ptr, path.length);
  name[path.length] = 0;
  FILE *file = fopen(name, "rb");
  if (!file) return NULL;
  Key *key = calloc(1, sizeof *key);
  if (key) key->bytes = fread(key->key, 1, sizeof key->key, file);
  bool whole = key && key->bytes && key->bytes < sizeof key->key && !ferror(file);
  fclose(file);
  if (whole) return key;
  free(key);
  return NULL;
}

static HeadersStatus request_headers(EnvoyFilter envoy, void *mine, bool end) {
  (void)end;
  const Key *key = mine;
  Text subject;
  if (!header(envoy, REQUEST_HEADERS, TEXT("x-marquee-subject"), &subject)) return GO_ON;
  char *text = malloc(key->bytes + subject.length), digits[WORDS * WORD_DIGITS + 1];
  if (!text) return GO_ON;
  uint32_t hash[8];
  memcpy(text, key->key, key->bytes);
  memcpy(text + key->bytes, subject.ptr, subject.length);
  sha256(text, key->bytes + subject.length, hash);
  free(text);
  for (int i = 0; i < WORDS; i++) snprintf(digits + i * WORD_DIGITS, WORD_DIGITS + 1, "%08x", hash[i]);
  CALLBACK(http_set_dynamic_metadata_string)(envoy, TEXT("who"), TEXT("user"), (Text){digits, WORDS * WORD_DIGITS});
  return GO_ON;
}

const Kind who_filter = {
    .name = {"who", 3},
    .config_new = config_new,
    .config_free = free,
    .request_headers = request_headers,
};
