/* Runs a fuzz target over stored inputs without libFuzzer: the files named, and all files in the
 * folders named (not below them). Each input stands in memory of exactly its size, so that the
 * address sanitizer sees the first byte read too far. Ends with status 1 when a folder has no files
 * or one cannot be read; a target that breaks aborts. */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(size ? size : 1);
    int status = 1;
    if (f && data && fread(data, 1, size, f) == size) {
        fprintf(stderr, "%s\n", path);
        LLVMFuzzerTestOneInput(data, size);
        status = 0;
    } else {
        perror(path);
    }
    free(data);
    if (f)
        fclose(f);
    return status;
}

static int replay(const char *path, int depth)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode))
        return replay_file(path, (size_t)st.st_size);
    DIR *d = depth == 0 ? opendir(path) : NULL;
    int status = 0, files = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        char name[4096];
        if (e->d_name[0] == '.')
            continue;
        if (snprintf(name, sizeof name, "%s/%s", path, e->d_name) >= (int)sizeof name)
            status = 1;
        else
            status |= replay(name, depth + 1);
        files++;
    }
    if (d)
        closedir(d);
    if (depth == 0 && files == 0) {
        fprintf(stderr, "%s: no inputs\n", path);
        return 1;
    }
    return status;
}

int main(int argc, char **argv)
{
    int status = argc < 2;
    for (int i = 1; i < argc; i++)
        status |= replay(argv[i], 0);
    return status;
}
