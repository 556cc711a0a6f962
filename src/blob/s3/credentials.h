#pragma once
/* Who we are to S3: a file that the configuration names, else the environment, else ~/.aws/credentials, else what the machine's instance
 * metadata (IMDSv2) gives for a while. */
#include "base/clock.h"
#include "base/err.h"
#include "blob/s3/sign.h"
#include <pthread.h>

struct s3_credentials {
    char file[512]; /* "": none named */
    pthread_mutex_t lock;
    struct s3_keys keys;
    usec until; /* wall clock; 0: to be read */
};

void s3_credentials_init(struct s3_credentials *c, const char *file);
void s3_credentials_release(struct s3_credentials *c);
/** Copies the keys; reads them when there are none yet, or theirs are about to end. Any thread. ERR_INVALID says what is missing where. */
int s3_credentials_get(struct s3_credentials *c, usec wall_us, struct s3_keys *ret, struct err *err);
/** They were refused as too old: the next get reads them again. */
void s3_credentials_drop(struct s3_credentials *c);
