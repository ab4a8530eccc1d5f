/* SPDX-License-Identifier: MIT
 *
 * What kiln asks of kiln-ext4, the program that changes an ext4 file system in a chain of qcow2
 * files without a VM. It does one job and ends.
 *
 * Its standard input is a socket: u32 length (little endian), a message (agent/message.h) of that
 * length with the fields below, and for JOB_RECEIVE a stream (agent/stream.h). It ends with status 0
 * when the job is done and the top file is complete; else with one of the below and one line on its
 * standard output that says why it is not. The top file is then of no use. It is fit for JOB_PARTITION to be a file system
 * that means harm: see sandbox.h.
 */
#ifndef BUILDER_EXT4_JOB_H
#define BUILDER_EXT4_JOB_H

#define JOB_MAX (1 << 20) /* bytes of the message */

enum job_status {
    JOB_DECLINED = 1,
    JOB_ABORTED, /* whoever made the stream could not go on */
};

enum job_kind {
    JOB_RECEIVE = 1, /* PATH, FOLDER, OWNER, MODE as AGENT_RECEIVE has them */
    JOB_MKDIR,       /* PATH, OWNER as AGENT_MKDIR has them */
    JOB_BUILD,       /* a new disk of partitions, each made in a file of its own: TABLE is the
                      * descriptor of a file with the partition table, PART and PART_START those of
                      * the files and where they begin */
};

enum job_tag {
    JOB_KIND = 1,
    JOB_FILE,      /* descriptor of a file of the chain, repeated, from the base to the top */
    JOB_PARTITION, /* number of the one with the root file system */
    JOB_MOUNT,     /* folder where another file system is mounted, repeated */
    JOB_PATH,
    JOB_FOLDER,
    JOB_OWNER,
    JOB_MODE,
    JOB_TABLE,
    JOB_PART,
    JOB_PART_START, /* bytes */
};

#endif
