#pragma once
/* Exit statuses of the command line, beside those of base/errors.def (10 to 29). */
enum exit_status {
    EXIT_OK = 0,
    EXIT_JOB_FAILED = 1,    /* a job that was waited for ended as failed */
    EXIT_USAGE = 2,         /* the command line itself is wrong */
    EXIT_JOB_CANCELLED = 3, /* a job that was waited for was cancelled */
    EXIT_GAVE_UP = 4        /* waiting took longer than asked for, or the server stayed away; the job goes on */
};
