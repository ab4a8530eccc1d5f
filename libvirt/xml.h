/* SPDX-License-Identifier: MIT
 *
 * XML of libvirt, read by libxml2: texts that anybody who may define a domain wrote.
 *
 *     // given struct str domain;
 *     CLEANUP(xml_freep) xmlDoc *doc = xml_parse(domain, "domain", &err);
 *     if (doc) {
 *         AUTO_FREE char *type = xml_attr(xml_root(doc), "type");
 *         const xmlNode *os = xml_child(xml_root(doc), "os", NULL);
 *     }
 */
#ifndef LIBVIRT_XML_H
#define LIBVIRT_XML_H

#include "base/buf.h"
#include "base/error.h"

/* Of <libxml/tree.h>. */
typedef struct _xmlDoc xmlDoc;
typedef struct _xmlNode xmlNode;

/* At most 16 MiB, no document type (so no entities of its own), nothing is fetched, 256 elements deep. The
 * root must have that name. NULL with ERR_USER. */
xmlDoc *xml_parse(struct str text, const char *root, struct error **err);
void xml_freep(xmlDoc **doc); /* NULL in it is fine */
const xmlNode *xml_root(const xmlDoc *doc);
/* The first element of that name in n, or the next after `after`; NULL = none. n may be NULL. */
const xmlNode *xml_child(const xmlNode *n, const char *name, const xmlNode *after);
/* Value of an attribute, or the text in an element; owned. NULL = none; n may be NULL. */
char *xml_attr(const xmlNode *n, const char *name);
char *xml_text(const xmlNode *n);

#endif
