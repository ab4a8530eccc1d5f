// SPDX-License-Identifier: MIT
#include "libvirt/xml.h"

#include "base/alloc.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <string.h>

enum { TEXT_MAX = 16 << 20 };

static int refuse(struct error **err)
{
    const xmlError *why = xmlGetLastError();
    const char *text = why && why->message ? why->message : "it cannot be read";
    return error_set(err, ERR_USER, "not valid XML, line %d: %.*s", why ? why->line : 0,
                     (int)strcspn(text, "\n"), text);
}

xmlDoc *xml_parse(struct str text, const char *root, struct error **err)
{
    if (text.len > TEXT_MAX) {
        error_set(err, ERR_USER, "XML of more than 16 MiB");
        return NULL;
    }
    // libvirt writes none, and entities can make a gigabyte of a kilobyte
    if (memmem(text.ptr, text.len, "<!DOCTYPE", strlen("<!DOCTYPE"))) {
        error_set(err, ERR_USER, "XML with a document type, which libvirt does not use");
        return NULL;
    }
    xmlResetLastError();
    CLEANUP(xml_freep)
    xmlDoc *doc = xmlReadMemory(text.ptr, (int)text.len, NULL, NULL,
                                XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (!doc) {
        refuse(err);
        return NULL;
    }
    const xmlNode *top = xmlDocGetRootElement(doc);
    if (!top || strcmp((const char *)top->name, root) != 0) {
        error_set(err, ERR_USER, "XML of '%s', not of '%s'",
                  top ? (const char *)top->name : "nothing", root);
        return NULL;
    }
    xmlDoc *ret = doc;
    doc = NULL;
    return ret;
}

void xml_freep(xmlDoc **doc)
{
    xmlFreeDoc(*doc);
}

const xmlNode *xml_root(const xmlDoc *doc)
{
    return xmlDocGetRootElement(doc);
}

const xmlNode *xml_child(const xmlNode *n, const char *name, const xmlNode *after)
{
    const xmlNode *c = after ? after->next : n ? n->children : NULL;
    while (c && (c->type != XML_ELEMENT_NODE || strcmp((const char *)c->name, name) != 0))
        c = c->next;
    return c;
}

/* Ours, of a string of libxml2. */
static char *take(xmlChar *text)
{
    char *ret = text ? xstrdup((const char *)text) : NULL;
    xmlFreeFunc release; // xmlFree is data, which cli/late.h cannot do
    xmlMemGet(&release, NULL, NULL, NULL);
    release(text);
    return ret;
}

char *xml_attr(const xmlNode *n, const char *name)
{
    return n ? take(xmlGetNoNsProp(n, (const xmlChar *)name)) : NULL;
}

char *xml_text(const xmlNode *n)
{
    return n ? take(xmlNodeGetContent(n)) : NULL;
}
