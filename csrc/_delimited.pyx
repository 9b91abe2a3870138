"""Kernel of tslrec_min.data.raw.ascii_columns: lines cut into fields, numbers, and codes of ids."""

from libc.stdint cimport int32_t, int64_t, uint8_t


cdef extern from "delimited.h" nogil:
    ctypedef struct delimited_block:
        const uint8_t* text
        Py_ssize_t length
        const uint8_t* mark
        Py_ssize_t mark_length, width
        const int32_t* column_of_field
        int quoted, stripped
        Py_ssize_t capacity
        int32_t *starts
        int32_t *ends

    ctypedef struct id_table:
        pass

    Py_ssize_t delimited_lines(const uint8_t* text, Py_ssize_t length)
    Py_ssize_t delimited_cut(const delimited_block* block)
    int delimited_integers(const uint8_t* text, const int32_t* starts, const int32_t* ends, Py_ssize_t n,
                           int64_t* values)
    int delimited_decimals(const uint8_t* text, const int32_t* starts, const int32_t* ends, Py_ssize_t n,
                           double* values)
    id_table* id_table_new(int slot_bits)
    void id_table_free(id_table* table)
    Py_ssize_t id_table_count(const id_table* table)
    void id_table_truncate(id_table* table, Py_ssize_t count)
    int id_table_look_up(id_table* table, const uint8_t* text, Py_ssize_t length, const int32_t* starts,
                         const int32_t* ends, Py_ssize_t n, int32_t* codes, int* plain)
    Py_ssize_t id_table_names(const id_table* table, Py_ssize_t first, uint8_t* out)


def count_lines(const uint8_t[::1] text):
    """Return the number of line feeds in at least one byte."""
    cdef Py_ssize_t count
    with nogil:
        count = delimited_lines(&text[0], text.shape[0])
    return count


def cut(const uint8_t[::1] text, const uint8_t[::1] mark, const int32_t[::1] column_of_field, bint quoted,
        bint stripped, int32_t[:, ::1] starts, int32_t[:, ::1] ends):
    """Write where the fields of every line are, [columns, lines]; return the number of lines, -1 if one is not plain.

    The caller has checked that there is text, at least one column, a mark of one or two bytes, room for as many lines
    as there are line feeds, and that the text ends with one.
    """
    cdef delimited_block block
    cdef Py_ssize_t count
    block.text, block.length = &text[0], text.shape[0]
    block.mark, block.mark_length = &mark[0], mark.shape[0]
    block.width, block.column_of_field = column_of_field.shape[0], &column_of_field[0]
    block.quoted, block.stripped = quoted, stripped
    block.capacity, block.starts, block.ends = starts.shape[1], &starts[0, 0], &ends[0, 0]
    with nogil:
        count = delimited_cut(&block)
    return count


def integers(const uint8_t[::1] text, const int32_t[::1] starts, const int32_t[::1] ends, int64_t[::1] values):
    """Read at least one field as a number; return whether all have 1 to 18 digits."""
    cdef int failed
    with nogil:
        failed = delimited_integers(&text[0], &starts[0], &ends[0], starts.shape[0], &values[0])
    return not failed


def decimals(const uint8_t[::1] text, const int32_t[::1] starts, const int32_t[::1] ends, double[::1] values):
    """Read at least one field as a number; return whether all are plain, with at most 15 digits."""
    cdef int failed
    with nogil:
        failed = delimited_decimals(&text[0], &starts[0], &ends[0], starts.shape[0], &values[0])
    return not failed


cdef class IdTable:
    """Ids as bytes, numbered from 0 in order of first appearance."""

    cdef id_table* table

    def __cinit__(self, int slot_bits):
        """Make a table with 2^slot_bits slots, which grows."""
        self.table = id_table_new(slot_bits)
        if self.table is NULL:
            raise MemoryError()

    def __dealloc__(self):
        """Give the memory back."""
        id_table_free(self.table)

    def __len__(self):
        """Return the number of ids."""
        return id_table_count(self.table)

    def truncate(self, Py_ssize_t count):
        """Forget all ids but the first `count`."""
        id_table_truncate(self.table, count)

    def look_up(self, const uint8_t[::1] text, const int32_t[::1] starts, const int32_t[::1] ends, int32_t[::1] codes):
        """Write the codes of at least one field; return whether all new ids are printable ASCII."""
        cdef int failed, plain
        with nogil:
            failed = id_table_look_up(self.table, &text[0], text.shape[0], &starts[0], &ends[0], starts.shape[0],
                                      &codes[0], &plain)
        if failed:
            raise MemoryError()
        return bool(plain)

    def names(self, Py_ssize_t first):
        """Return the ids from number `first` on, each with a line feed."""
        cdef bytearray out = bytearray(id_table_names(self.table, first, NULL))
        id_table_names(self.table, first, <uint8_t*> <char*> out)
        return out
