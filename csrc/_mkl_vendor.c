/* Makes oneMKL, the library of torch's matrix products, choose its kernels by the processor's instructions.
 *
 * It chooses by the vendor first: unless this function of its own says that the processor is Intel's, it takes slower
 * kernels. If this library is loaded before torch, and for all to
 * see (RTLD_GLOBAL), the dynamic linker finds the function here first. What the processor can do is still asked of the
 * processor. See runtime/mkl.py.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if defined(__GNUC__)
__attribute__((visibility("default"))) int mkl_serv_intel_cpu_true(void);
int mkl_serv_intel_cpu_true(void)
{
    return 1;
}
#endif

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_mkl_vendor", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__mkl_vendor(void)
{
    return PyModule_Create(&module);
}
