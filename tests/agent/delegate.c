/* A delegate of TFLite as small as can be. Built with -DTAKE it takes all nodes of the graph (and computes nothing),
   else none. The declarations are the beginnings of those in tensorflow/lite/core/c/common.h. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;
typedef struct {
  void* (*init)(Context*, const char*, size_t);
  void (*free)(Context*, void*);
  int (*prepare)(Context*, void*);
  int (*invoke)(Context*, void*);
  const char* (*profiling_string)(const Context*, const void*);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* rest[8];
} Registration;
struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(Context*, IntArray**);
  void* tensors;
  void* impl;
  int (*ResizeTensor)(void);
  void (*ReportError)(void);
  int (*AddTensors)(void);
  int (*GetNodeAndRegistration)(void);
  int (*ReplaceNodeSubsetsWithDelegateKernels)(Context*, Registration, const IntArray*, Delegate*);
};
struct Delegate {
  void* data;
  int (*Prepare)(Context*, Delegate*);
  void* copy_from;
  void* copy_to;
  void* free_handle;
  int64_t flags;
  void* builder;
};

static int done(Context* context, void* node) { return 0; }

static int prepare(Context* context, Delegate* delegate) {
#ifdef TAKE
  IntArray* plan;
  Registration registration = {.prepare = done, .invoke = done, .custom_name = "Everything", .version = 1};
  if (context->GetExecutionPlan(context, &plan)) return 1;
  return context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, plan, delegate);
#else
  return 0;
#endif
}

Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  Delegate* delegate = calloc(1, sizeof(Delegate));
  delegate->Prepare = prepare;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate* delegate) { free(delegate); }
