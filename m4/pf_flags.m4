# PF_CC_FLAGS(VARIABLE, FLAGS): appends those flags that the compiler takes.
AC_DEFUN([PF_CC_FLAGS], [
for pf_flag in m4_normalize([$2]); do
    AC_MSG_CHECKING([whether $CC takes $pf_flag])
    pf_saved=$CFLAGS
    CFLAGS="$CFLAGS -Werror $pf_flag"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([int pf_dummy(void); int pf_dummy(void) { return 0; }])],
        [AC_MSG_RESULT([yes]); $1="$$1 $pf_flag"], [AC_MSG_RESULT([no])])
    CFLAGS=$pf_saved
done
])

# PF_LD_FLAGS(VARIABLE, FLAGS): appends those flags that linking works with.
AC_DEFUN([PF_LD_FLAGS], [
for pf_flag in m4_normalize([$2]); do
    AC_MSG_CHECKING([whether linking works with $pf_flag])
    pf_saved=$LDFLAGS
    pf_saved_c=$CFLAGS
    LDFLAGS="$LDFLAGS $pf_flag"
    CFLAGS="$CFLAGS $HARDEN_CFLAGS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
        [AC_MSG_RESULT([yes]); $1="$$1 $pf_flag"], [AC_MSG_RESULT([no])])
    LDFLAGS=$pf_saved
    CFLAGS=$pf_saved_c
done
])
