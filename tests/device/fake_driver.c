// A CUDA driver without a GPU: device memory is host memory. Built with -DINIT=code and -DCOUNT=devices by the tests.
#include <stdlib.h>
#include <string.h>

typedef unsigned long long address;

int cuInit(unsigned flags) { return INIT; }
int cuDeviceGetCount(int *count) { *count = COUNT; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return index < COUNT ? 0 : 101; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Fake GPU 1", size); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1; return 0; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)1; return 0; }
int cuCtxSetCurrent(void *context) { return context ? 0 : 201; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)0x55; return 0; }
int cuStreamDestroy_v2(void *stream) { return 0; }
int cuStreamSynchronize(void *stream) { return stream == (void *)0x55 ? 0 : 400; }
int cuMemAlloc_v2(address *where, size_t size) { *where = (address)malloc(size); return size > (1u << 20) ? 2 : 0; }
int cuMemFree_v2(address where) { free((void *)where); return 0; }
int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t size, void *stream) { memcpy((void *)to, from, size); return 0; }
int cuMemcpyDtoHAsync_v2(void *to, address from, size_t size, void *stream) { memcpy(to, (void *)from, size); return 0; }
