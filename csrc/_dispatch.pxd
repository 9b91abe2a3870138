"""The instruction sets that kernels are compiled for; csrc/dispatch.h says how one is chosen."""

cdef extern from "dispatch.h" nogil:
    const char* tslrec_instruction_set(int isa)


cdef inline list supported_sets():
    """Return the names of the instruction sets that this CPU has, the fastest last."""
    names = []
    while tslrec_instruction_set(<int>len(names)):
        names.append(tslrec_instruction_set(<int>len(names)).decode())
    return names
